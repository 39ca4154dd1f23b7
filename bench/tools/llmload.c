/* llmload: a load generator for OpenAI-compatible servers (epoll, one thread, HTTP/1.1 keep-alive).
 *
 *   llmload -p PORT [-c CONNS] [-d SECONDS] [-w WARMUP_SECONDS] [-r REQUESTS_PER_SECOND] [-n MAX_REQUESTS]
 *           [-b BODY_FILE] [-k KEY] [-u PATH] [-H "Name: value"]... [-s]
 *
 * Closed loop (no -r): every connection sends its next request when the last was answered.
 * Open loop (-r): requests are due at a fixed rate, whatever the server does; latency counts from the due time
 * (no coordinated omission).
 * -s: the answers are SSE streams of mockllm: events are counted, and each one's age on arrival is measured; -x N: a stream that has not N events is an error.
 * Prints one JSON object. Latencies are microseconds.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static uint64_t now_ns(void) { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return t.tv_sec * 1000000000ull + t.tv_nsec; }

/* ---- histogram: log-linear, 1/128 relative error, microseconds*8 resolution at the bottom ---- */
typedef struct { uint64_t n[64 * 128], count, sum, max; } Hist;
static void hist_add(Hist *h, uint64_t ns) {
    int b = ns < 128 ? 0 : 63 - __builtin_clzll(ns) - 6;
    uint64_t i = b * 128 + (ns >> b); if (i >= 64 * 128) i = 64 * 128 - 1;
    h->n[i]++; h->count++; h->sum += ns; if (ns > h->max) h->max = ns;
}
static double hist_q(Hist *h, double q) {
    uint64_t want = q * h->count, seen = 0;
    if (!h->count) return 0;
    for (int i = 0; i < 64 * 128; i++) if ((seen += h->n[i]) > want) { int b = i / 128; uint64_t m = i % 128; return (b ? ((double)((uint64_t)(m) << b)) : m) / 1000.0; }
    return h->max / 1000.0;
}
/* the index above keeps (ns >> b) in [64,128) for b > 0, so i = b*128 + that; decode accordingly */

typedef struct {
    int fd, busy, connecting;
    size_t sent;
    uint64_t due, first;
    /* response parser */
    int st, chunked, status, close_after; long long left; char line[8192]; int line_len;
    uint64_t events; int nl; int mpos; char tbuf[20];
} Conn;
enum { HEAD, BODY, CHUNK_SIZE, CHUNK_DATA, CHUNK_END, TRAILER };

static char *req; static size_t req_len;
static int ep, port, sse, measuring;
static Hist lat, ttfb, age;
static uint64_t done_n, err_n, events_n, bytes_n, bad_status, stop_at;
static uint64_t expect_events;

static void arm(Conn *c, uint32_t e, int op) { struct epoll_event ev = {.events = e, .data.ptr = c}; epoll_ctl(ep, op, c->fd, &ev); }
static void reset_parser(Conn *c) { c->st = HEAD; c->line_len = 0; c->chunked = 0; c->left = 0; c->status = 0; c->events = 0; c->nl = 0; c->mpos = 0; c->first = 0; c->close_after = 0; }
static void dial(Conn *c) {
    int one = 1;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    connect(c->fd, (void *)&a, sizeof a);
    c->connecting = 1; reset_parser(c); arm(c, EPOLLOUT, EPOLL_CTL_ADD);
}
static void pump(Conn *c) {
    while (c->sent < req_len) {
        ssize_t w = send(c->fd, req + c->sent, req_len - c->sent, MSG_NOSIGNAL);
        if (w < 0) { if (errno == EAGAIN) arm(c, EPOLLIN | EPOLLOUT, EPOLL_CTL_MOD); return; }
        c->sent += w;
    }
}
static void start(Conn *c, uint64_t due) { c->busy = 1; c->due = due; c->sent = 0; reset_parser(c); if (!c->connecting) pump(c); }

static const char MARK[] = "@@";
static void payload(Conn *c, const char *p, size_t n, uint64_t t) {
    bytes_n += n;
    if (!c->first && n) { c->first = t; }
    if (!sse) return;
    for (size_t i = 0; i < n; i++) {
        char ch = p[i];
        if (ch == '\n') { if (++c->nl == 2) { c->events++; c->nl = 0; } } else if (ch != '\r') c->nl = 0;
        if (c->mpos < 2) { c->mpos = ch == MARK[c->mpos] ? c->mpos + 1 : 0; }
        else { c->tbuf[c->mpos++ - 2] = ch; if (c->mpos == 21) { c->tbuf[19] = 0; uint64_t s = strtoull(c->tbuf, NULL, 10); if (measuring && t > s) hist_add(&age, t - s); c->mpos = 0; } }
    }
}
/* returns 1 when the response is complete */
static int parse(Conn *c, const char *p, size_t n, uint64_t t) {
    size_t i = 0;
    while (i < n) {
        if (c->st == BODY || c->st == CHUNK_DATA) {
            size_t k = n - i; if (c->left >= 0 && k > (size_t)c->left) k = c->left;
            payload(c, p + i, k, t); i += k; if (c->left >= 0) c->left -= k;
            if (c->left == 0) { if (c->st == BODY) return 1; c->st = CHUNK_END; c->line_len = 0; }
            continue;
        }
        char ch = p[i++];
        if (ch != '\n') { if (c->line_len < (int)sizeof c->line - 1) c->line[c->line_len++] = ch; continue; }
        if (c->line_len && c->line[c->line_len - 1] == '\r') c->line_len--;
        c->line[c->line_len] = 0;
        int len = c->line_len; c->line_len = 0;
        switch (c->st) {
        case HEAD:
            if (!c->status) { c->status = atoi(c->line + 9); c->left = -1; break; }
            if (len) {
                if (!strncasecmp(c->line, "content-length:", 15)) c->left = atoll(c->line + 15);
                else if (!strncasecmp(c->line, "transfer-encoding:", 18)) c->chunked = 1;
                else if (!strncasecmp(c->line, "connection: close", 17)) c->close_after = 1;
                break;
            }
            if (c->status == 100) { reset_parser(c); break; }
            if (c->chunked) { c->st = CHUNK_SIZE; break; }
            c->st = BODY; if (c->left == 0) return 1;
            break;
        case CHUNK_SIZE: c->left = strtoll(c->line, NULL, 16); c->st = c->left ? CHUNK_DATA : TRAILER; break;
        case CHUNK_END: c->st = CHUNK_SIZE; break;
        case TRAILER: if (!len) return 1; break;
        }
    }
    return 0;
}
static void finish(Conn *c, uint64_t t, int ok) {
    if (measuring) {
        if (!ok) err_n++;
        else if (c->status != 200) bad_status++;
        else {
            done_n++; events_n += c->events; hist_add(&lat, t - c->due); hist_add(&ttfb, c->first - c->due);
            if (sse && expect_events && c->events != expect_events) err_n++;
        }
    }
    c->busy = 0;
}

int main(int argc, char **argv) {
    int conns = 1, o; double secs = 3, warm = 0.5, rate = 0; uint64_t max_n = 0; char *bodyf = NULL, *key = "sk-virtual-1", *path = "/v1/chat/completions", hdrs[4096] = "";
    while ((o = getopt(argc, argv, "p:c:d:w:r:n:b:k:u:H:sx:")) != -1) switch (o) {
        case 'p': port = atoi(optarg); break; case 'c': conns = atoi(optarg); break; case 'd': secs = atof(optarg); break;
        case 'w': warm = atof(optarg); break; case 'r': rate = atof(optarg); break; case 'n': max_n = strtoull(optarg, NULL, 10); break;
        case 'b': bodyf = optarg; break; case 'k': key = optarg; break; case 'u': path = optarg; break;
        case 'H': strcat(hdrs, optarg); strcat(hdrs, "\r\n"); break; case 's': sse = 1; break;
        case 'x': expect_events = strtoull(optarg, NULL, 10); break;
        default: return 2;
    }
    char *body = "{\"model\":\"mock\",\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}"; size_t bl = strlen(body);
    if (bodyf) { FILE *f = fopen(bodyf, "rb"); if (!f) { perror(bodyf); return 1; } fseek(f, 0, SEEK_END); bl = ftell(f); rewind(f); body = malloc(bl); if (fread(body, 1, bl, f) != bl) return 1; fclose(f); }
    req = malloc(bl + 8192);
    req_len = sprintf(req, "POST %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nAccept: application/json\r\nContent-Type: application/json\r\nUser-Agent: AsyncOpenAI/Python 2.54.0\r\n"
        "X-Stainless-Lang: python\r\nX-Stainless-Package-Version: 2.54.0\r\nX-Stainless-Runtime: CPython\r\nAuthorization: Bearer %s\r\n%sContent-Length: %zu\r\n\r\n", path, port, key, hdrs, bl);
    memcpy(req + req_len, body, bl); req_len += bl;

    ep = epoll_create1(0);
    Conn *cs = calloc(conns, sizeof *cs); Conn **idle = calloc(conns, sizeof *idle); int idle_n = 0;
    uint64_t t0 = now_ns(), t_meas = t0 + warm * 1e9, t_end = t_meas + secs * 1e9, next = t0, started = 0;
    uint64_t gap = rate > 0 ? 1e9 / rate : 0; uint64_t dialed = 0;
    struct epoll_event evs[256]; static char buf[262144];
    for (int i = 0; i < conns; i++) { dial(&cs[i]); if (!gap) start(&cs[i], now_ns()), started++; if (++dialed % 200 == 0) usleep(20000); }
    if (gap) for (int i = 0; i < conns; i++) idle[idle_n++] = &cs[i];
    t0 = now_ns(); t_meas = t0 + warm * 1e9; t_end = t_meas + secs * 1e9; next = t0;
    uint64_t t_first = 0, t_last = 0;
    for (;;) {
        uint64_t t = now_ns();
        if (!measuring && t >= t_meas) { measuring = 1; t_first = t; }
        int over = t >= t_end || (max_n && done_n >= max_n);
        if (over && !t_last) { t_last = t; stop_at = t; }
        if (over) break;
        while (gap && next <= t && idle_n && !over) { Conn *c = idle[--idle_n]; start(c, next); next += gap; started++; }
        int64_t d = 100000000;                        /* until the next one is due, at most: no spinning, the mock shares this CPU */
        if (gap && idle_n) { int64_t k = (int64_t)(next - now_ns()); d = k < 0 ? 0 : k < d ? k : d; }
        struct timespec ts = {0, d}; struct pollfd pf = {.fd = ep, .events = POLLIN};
        if (d) ppoll(&pf, 1, &ts, NULL);
        int n = epoll_wait(ep, evs, 256, 0);
        t = now_ns();
        for (int i = 0; i < n; i++) {
            Conn *c = evs[i].data.ptr;
            if (c->connecting) {
                int e = 0; socklen_t l = sizeof e; getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &e, &l);
                if (e) { close(c->fd); err_n++; usleep(1000); dial(c); continue; }
                c->connecting = 0; arm(c, EPOLLIN, EPOLL_CTL_MOD); if (c->busy) pump(c); continue;
            }
            if (evs[i].events & EPOLLOUT) { arm(c, EPOLLIN, EPOLL_CTL_MOD); pump(c); }
            if (!(evs[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR))) continue;
            ssize_t r = recv(c->fd, buf, sizeof buf, 0);
            if (r < 0 && errno == EAGAIN) continue;
            int over1 = 0;
            if (r <= 0) {
                int body_eof = r == 0 && c->busy && c->st == BODY && c->left < 0;
                int was = c->busy; if (was) finish(c, t, body_eof);
                close(c->fd); dial(c); over1 = was;
            } else if (c->busy && parse(c, buf, r, t)) {
                finish(c, t, 1); over1 = 1;
                if (c->close_after) { close(c->fd); dial(c); }
            }
            if (over1) { if (gap) idle[idle_n++] = c; else { start(c, now_ns()); started++; } }
        }
    }
    double el = (t_last - t_first) / 1e9;
    printf("{\"requests\":%llu,\"errors\":%llu,\"bad_status\":%llu,\"seconds\":%.3f,\"rps\":%.1f,"
        "\"lat_us\":{\"mean\":%.1f,\"p50\":%.1f,\"p90\":%.1f,\"p99\":%.1f,\"p999\":%.1f,\"max\":%.1f},\"ttfb_us\":{\"p50\":%.1f,\"p99\":%.1f}",
        (unsigned long long)done_n, (unsigned long long)err_n, (unsigned long long)bad_status, el, done_n / el,
        lat.count ? lat.sum / 1000.0 / lat.count : 0, hist_q(&lat, .5), hist_q(&lat, .9), hist_q(&lat, .99), hist_q(&lat, .999), lat.max / 1000.0, hist_q(&ttfb, .5), hist_q(&ttfb, .99));
    if (sse) printf(",\"events\":%llu,\"aged_events\":%llu,\"event_age_us\":{\"p50\":%.1f,\"p99\":%.1f,\"max\":%.1f}", (unsigned long long)events_n, (unsigned long long)age.count, hist_q(&age, .5), hist_q(&age, .99), age.max / 1000.0);
    printf("}\n");
    return 0;
}
