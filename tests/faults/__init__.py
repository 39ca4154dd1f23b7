"""The fault matrix: whatever breaks, and whenever, a call ends exactly once.

Its instruments, each with tests of its own: `chaosnet` (a bad network), `failpoints`, `nursery` and
`killloop` (kill -9 anywhere), `leakhunter` and `leakswarm` (other people's words), `canary` and
`planting` (secrets), `routematrix` and `policy` (who may do what), `soak` (what grows). Those of
kills, words and growth also run by themselves, for as long as one likes:
`make soak ARGS="--minutes 60"`.
"""
