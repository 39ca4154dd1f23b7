/* mockllm: a very fast, single-threaded mock of an OpenAI-compatible upstream (epoll, HTTP/1.1 keep-alive).
 *
 *   mockllm PORT
 *
 * A chat completion at once, unless a string of the JSON body begins with "mock-", such as "content":"mock-d50 Hello":
 *   mock-d50          a chat completion after 50 ms
 *   mock-s100-p20     an SSE stream of 100 content events, one every 20 ms, then finish_reason, usage (if the request
 *                     says include_usage) and [DONE]; first events are spread over the 20 ms, so that streams that began
 *                     together do not go on in step
 *   mock-s100-p0      the same at full speed, one send() per event
 *   mock-v100         a list of 100 embeddings of 256 numbers
 *   mock-e429         status 429 (any three digits) with a small JSON error
 * The content of each SSE event carries the time at which it was sent (@@<CLOCK_MONOTONIC ns, 19 digits>), which survives
 * a gateway that writes events anew, so a client on the same machine can measure how long each event took to arrive.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MAX_FD 65536
#define IN_CAP (256 * 1024)

typedef struct {
    int fd, heap_pos;            /* heap_pos: index in the timer heap, -1 when none */
    char *in; size_t in_len;
    char *out; size_t out_len, out_off, out_cap;
    int chunks_left, chunk_no;   /* SSE state; chunks_left < 0: not streaming */
    uint64_t pace_ns, due;
    int delayed;                 /* a delayed plain reply is waiting */
    int usage, finished;         /* the stream ends in a usage event; its finish_reason was sent */
} Conn;

static Conn *conns[MAX_FD];
static Conn *heap[MAX_FD]; static int heap_n;
static int ep;

static uint64_t now_ns(void) { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return t.tv_sec * 1000000000ull + t.tv_nsec; }

/* ---- timer heap ---- */
static void heap_swap(int a, int b) { Conn *t = heap[a]; heap[a] = heap[b]; heap[b] = t; heap[a]->heap_pos = a; heap[b]->heap_pos = b; }
static void heap_up(int i) { while (i && heap[i]->due < heap[(i - 1) / 2]->due) { heap_swap(i, (i - 1) / 2); i = (i - 1) / 2; } }
static void heap_down(int i) {
    for (;;) {
        int l = 2 * i + 1, m = i;
        if (l < heap_n && heap[l]->due < heap[m]->due) m = l;
        if (l + 1 < heap_n && heap[l + 1]->due < heap[m]->due) m = l + 1;
        if (m == i) return;
        heap_swap(i, m); i = m;
    }
}
static void timer_add(Conn *c, uint64_t due) { c->due = due; c->heap_pos = heap_n; heap[heap_n++] = c; heap_up(c->heap_pos); }
static void timer_del(Conn *c) {
    int i = c->heap_pos; if (i < 0) return;
    heap_n--; if (i != heap_n) { heap_swap(i, heap_n); heap_down(i); heap_up(i); }
    c->heap_pos = -1;
}

/* ---- replies ---- */
/* Limits that no run reaches: a gateway that minds what the provider says shall not wait for it. */
#define COMMON_HEADERS \
    "date: Mon, 23 Nov 2026 02:00:00 GMT\r\n" \
    "openai-organization: org-benchmark\r\nopenai-processing-ms: 412\r\nopenai-version: 2020-10-01\r\n" \
    "x-ratelimit-limit-requests: 1000000000\r\nx-ratelimit-limit-tokens: 1000000000000\r\n" \
    "x-ratelimit-remaining-requests: 999999999\r\nx-ratelimit-remaining-tokens: 999999999750\r\n" \
    "x-ratelimit-reset-requests: 6ms\r\nx-ratelimit-reset-tokens: 7ms\r\n" \
    "x-request-id: req_0123456789abcdef0123456789abcdef\r\n"

static char plain[4096]; static size_t plain_len;
static const char sse_head[] = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ncache-control: no-cache\r\n"
    COMMON_HEADERS "transfer-encoding: chunked\r\n\r\n";

static void make_plain(void) {
    char body[2048];
    int n = snprintf(body, sizeof body,
        "{\"id\":\"chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT\",\"object\":\"chat.completion\",\"created\":1741569952,"
        "\"model\":\"gpt-5.4-mini\",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":"
        "\"Hello! How can I assist you today? Here is a paragraph of ordinary length, so that the body is about as "
        "large as a short real reply: it says nothing in particular, in two sentences. That is enough.\","
        "\"refusal\":null,\"annotations\":[]},\"logprobs\":null,\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":219,"
        "\"completion_tokens\":48,\"total_tokens\":267,\"prompt_tokens_details\":{\"cached_tokens\":0,\"audio_tokens\":0},"
        "\"completion_tokens_details\":{\"reasoning_tokens\":0,\"audio_tokens\":0,\"accepted_prediction_tokens\":0,"
        "\"rejected_prediction_tokens\":0}},\"service_tier\":\"default\",\"system_fingerprint\":\"fp_44709d6fcb\"}");
    plain_len = snprintf(plain, sizeof plain, "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n"
        COMMON_HEADERS "\r\n%s", n, body);
}

static int vectors_of = -1; static char *vectors; static size_t vectors_len;
static void make_vectors(int count) {                 /* kept: all answers of a run are of one size */
    if (count == vectors_of) return;
    size_t cap = 4096 + (size_t)count * 256 * 16, n = 0; char *body = malloc(cap);
    n += sprintf(body + n, "{\"object\":\"list\",\"data\":[");
    for (int i = 0; i < count; i++) {
        n += sprintf(body + n, "%s{\"object\":\"embedding\",\"index\":%d,\"embedding\":[", i ? "," : "", i);
        for (int j = 0; j < 256; j++) n += sprintf(body + n, "%s%.8f", j ? "," : "", ((i * 7919 + j * 104729) % 20011 - 10005) / 100050.0);
        n += sprintf(body + n, "]}");
    }
    n += sprintf(body + n, "],\"model\":\"text-embedding-3-small\",\"usage\":{\"prompt_tokens\":%d,\"total_tokens\":%d}}", count * 8, count * 8);
    free(vectors); vectors = malloc(n + 2048); vectors_of = count;
    vectors_len = sprintf(vectors, "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %zu\r\n" COMMON_HEADERS "\r\n", n);
    memcpy(vectors + vectors_len, body, n); vectors_len += n; free(body);
}

static void watch(Conn *c, int writing) {
    struct epoll_event ev = {.events = EPOLLIN | (writing ? EPOLLOUT : 0), .data.fd = c->fd};
    epoll_ctl(ep, EPOLL_CTL_MOD, c->fd, &ev);
}
static void drop(Conn *c) {
    timer_del(c); conns[c->fd] = NULL; close(c->fd); free(c->in); free(c->out); free(c);
}
static int put(Conn *c, const char *p, size_t n) {   /* 0, or -1 when the connection is gone */
    if (c->out_len == c->out_off) {
        ssize_t w = send(c->fd, p, n, MSG_NOSIGNAL);
        if (w < 0) { if (errno != EAGAIN) return -1; w = 0; }
        if ((size_t)w == n) return 0;
        p += w; n -= w; c->out_len = c->out_off = 0; watch(c, 1);
    }
    if (c->out_len + n > c->out_cap) { c->out_cap = (c->out_len + n) * 2; c->out = realloc(c->out, c->out_cap); }
    memcpy(c->out + c->out_len, p, n); c->out_len += n;
    return 0;
}
static int put_event(Conn *c, const char *data, int n) {
    char buf[1024]; int m = snprintf(buf, sizeof buf, "%x\r\ndata: %.*s\n\n\r\n", n + 8, n, data);
    return put(c, buf, m);
}
#define CHUNK "{\"id\":\"chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT\",\"object\":\"chat.completion.chunk\"," \
    "\"created\":1741569952,\"model\":\"gpt-5.4-mini\",\"service_tier\":\"default\",\"system_fingerprint\":\"fp_44709d6fcb\","
#define CHOICE "\"choices\":[{\"index\":0,\"delta\":{%s},\"logprobs\":null,\"finish_reason\":%s}]"

static int send_chunk(Conn *c) {                      /* the next event of a stream; ends it after the last */
    char d[768], delta[80]; int n;
    const char *no_usage = c->usage ? ",\"usage\":null" : "";
    if (c->chunks_left > 0) {
        c->chunks_left--;
        snprintf(delta, sizeof delta, "\"content\":\" token%d @@%019llu\"", c->chunk_no++, (unsigned long long)now_ns());
        n = snprintf(d, sizeof d, CHUNK CHOICE "%s}", delta, "null", no_usage);
        return put_event(c, d, n);
    }
    if (!c->finished) {
        c->finished = 1;
        n = snprintf(d, sizeof d, CHUNK CHOICE "%s}", "", "\"stop\"", no_usage);
        return put_event(c, d, n);
    }
    c->chunks_left = -1;
    if (c->usage) {
        n = snprintf(d, sizeof d, CHUNK "\"choices\":[],\"usage\":{\"prompt_tokens\":219,\"completion_tokens\":%d,\"total_tokens\":%d}}",
            c->chunk_no, 219 + c->chunk_no);
        if (put_event(c, d, n)) return -1;
    }
    if (put_event(c, "[DONE]", 6)) return -1;
    return put(c, "0\r\n\r\n", 5);
}

/* How long a stream waits for its first event: evenly spread, whatever the number of streams (golden ratio). */
static uint64_t phase(uint64_t pace_ns) { static uint32_t streams; return (uint64_t)(++streams * 2654435769u) * pace_ns >> 32; }

static int handle(Conn *c);
static int reply(Conn *c, char *body, size_t n) {
    char *s = memmem(body, n, "\"mock-", 6); int delay = 0, chunks = -1, pace = 0, err = 0;
    if (s) {
        s += 6;
        if (*s == 'd') delay = atoi(s + 1);
        else if (*s == 'e') err = atoi(s + 1);
        else if (*s == 'v') { make_vectors(atoi(s + 1)); return put(c, vectors, vectors_len); }
        else if (*s == 's') { chunks = strtol(s + 1, &s, 10); if (s[0] == '-' && s[1] == 'p') pace = atoi(s + 2); }
    }
    if (err) {
        char buf[512]; const char *b = "{\"error\":{\"message\":\"mock error\",\"type\":\"mock\",\"param\":null,\"code\":null}}";
        int k = snprintf(buf, sizeof buf, "HTTP/1.1 %d Mock\r\ncontent-type: application/json\r\ncontent-length: %zu\r\nretry-after: 1\r\n\r\n%s", err, strlen(b), b);
        return put(c, buf, k);
    }
    if (chunks >= 0) {
        c->chunks_left = chunks; c->chunk_no = c->finished = 0; c->usage = memmem(body, n, "include_usage", 13) != NULL; c->pace_ns = pace * 1000000ull;
        if (put(c, sse_head, sizeof sse_head - 1)) return -1;
        if (pace) { timer_add(c, now_ns() + phase(c->pace_ns)); return 0; }
        while (c->chunks_left >= 0) if (send_chunk(c)) return -1;
        return 0;
    }
    if (delay) { c->delayed = 1; timer_add(c, now_ns() + delay * 1000000ull); return 0; }
    return put(c, plain, plain_len);
}
static int handle(Conn *c) {                          /* as many whole requests as the buffer holds */
    while (c->in_len && c->heap_pos < 0) {
        char *e = memmem(c->in, c->in_len, "\r\n\r\n", 4);
        if (!e) return 0;
        size_t head = e - c->in + 4, body = 0, total; *e = 0;
        char *cl = strcasestr(c->in, "\r\ncontent-length:"), *te = strcasestr(c->in, "\r\ntransfer-encoding:");
        *e = '\r';
        if (cl) { body = strtoul(cl + 17, NULL, 10); total = head + body; }
        else if (te) {
            char *z = memmem(c->in + head, c->in_len - head, "0\r\n\r\n", 5);
            if (!z) return 0;
            body = z - c->in - head; total = z - c->in + 5;
        } else total = head;
        if (total > IN_CAP) return -1;
        if (c->in_len < total) return 0;
        if (reply(c, c->in + head, body)) return -1;
        c->in_len -= total; memmove(c->in, c->in + total, c->in_len);
    }
    return 0;
}

int main(int argc, char **argv) {
    if (argc < 2) { fprintf(stderr, "usage: mockllm PORT\n"); return 2; }
    make_plain();
    int ls = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), one = 1;
    setsockopt(ls, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[1])), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (bind(ls, (void *)&a, sizeof a) || listen(ls, 4096)) { perror("bind"); return 1; }
    ep = epoll_create1(0);
    struct epoll_event ev = {.events = EPOLLIN, .data.fd = ls}, evs[256];
    epoll_ctl(ep, EPOLL_CTL_ADD, ls, &ev);
    for (;;) {
        int wait = -1;
        if (heap_n) { int64_t d = (int64_t)(heap[0]->due - now_ns()); wait = d <= 0 ? 0 : (d + 999999) / 1000000; }
        int n = epoll_wait(ep, evs, 256, wait);
        for (int i = 0; i < n; i++) {
            int fd = evs[i].data.fd;
            if (fd == ls) {
                int s;
                while ((s = accept4(ls, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
                    if (s >= MAX_FD) { close(s); continue; }
                    setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
                    Conn *c = calloc(1, sizeof *c); c->fd = s; c->heap_pos = -1; c->chunks_left = -1; c->in = malloc(4096);
                    c->in = realloc(c->in, IN_CAP); conns[s] = c;
                    struct epoll_event e2 = {.events = EPOLLIN, .data.fd = s}; epoll_ctl(ep, EPOLL_CTL_ADD, s, &e2);
                }
                continue;
            }
            Conn *c = conns[fd]; if (!c) continue;
            if (evs[i].events & EPOLLOUT && c->out_len > c->out_off) {
                ssize_t w = send(fd, c->out + c->out_off, c->out_len - c->out_off, MSG_NOSIGNAL);
                if (w < 0 && errno != EAGAIN) { drop(c); continue; }
                if (w > 0) c->out_off += w;
                if (c->out_off == c->out_len) { c->out_off = c->out_len = 0; watch(c, 0); }
            }
            if (evs[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
                ssize_t r = recv(fd, c->in + c->in_len, IN_CAP - c->in_len - 1, 0);
                if (r == 0 || (r < 0 && errno != EAGAIN)) { drop(c); continue; }
                if (r > 0) { c->in_len += r; c->in[c->in_len] = 0; if (handle(c)) { drop(c); continue; } }
            }
        }
        uint64_t t = now_ns();
        while (heap_n && heap[0]->due <= t) {
            Conn *c = heap[0]; timer_del(c); int bad;
            if (c->delayed) { c->delayed = 0; bad = put(c, plain, plain_len); }
            else { bad = send_chunk(c); if (!bad && c->chunks_left >= 0) timer_add(c, c->due + c->pace_ns); }
            if (bad) drop(c); else if (c->heap_pos < 0 && handle(c)) drop(c);
        }
    }
}
