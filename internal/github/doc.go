// Package github is ghostrunner's view of GitHub: the self-hosted runners of
// repositories, organisations and enterprises, what the credential is worth,
// how much of the quota is left, and what GitHub's clock says.
//
// It is the only importer of go-github, which is frozen at v60 here; the traps
// of that version are closed in one place, the transport of this package:
//
//   - v60 has no conditional requests and reports a 304 as an error. The
//     transport keeps the last body of each page, asks with If-None-Match and
//     hands the kept body back as a 200. A 304 is free of the primary quota.
//   - v60 does not know 429, and after any answer with "remaining 0" it makes up
//     a 403 without asking until the local clock has passed the reset. A wrong
//     local clock would stall it, so go-github never sees a rate-limit header:
//     the transport records them, and waiting is decided here, by durations
//     between two times of GitHub's own clock.
//
// Poll asks in the background; Snapshot and whatever reads it does no I/O.
package github
