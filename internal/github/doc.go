// Package github reads and changes the self-hosted runners of repositories, organizations and
// enterprises at GitHub, and reports whether the credential is valid, how much quota is left, and
// what GitHub's clock says.
//
// It is the only importer of go-github, which is frozen at v60. The transport of this package
// closes the traps of that version:
//
//   - v60 has no conditional requests and reports a 304 as an error. The transport keeps the last
//     body of each page, asks with If-None-Match, and returns the kept body as a 200. A 304 costs no
//     primary quota.
//   - v60 does not know 429, and after an answer with "remaining 0" it returns a 403 of its own
//     until the local clock has passed the reset. With a wrong local clock it would never ask again,
//     so go-github never sees a rate-limit header. The transport records them, and waits are
//     computed here, from two times of GitHub's own clock.
//
// Poll asks in the background. Snapshot does no I/O.
package github
