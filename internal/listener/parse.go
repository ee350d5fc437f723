package listener

import (
	"bytes"
	"strings"
	"time"
)

// Parse returns the meaning of one line, with or without its line ending. It reports false for
// lines that are not the listener's or not known; a line that has the listener's time stamp and is
// not known comes back with Kind Unrecognized and its Time, so that a change of wording in a new
// runner version can be noticed.
//
// Lines of the worker process are rejected by their prefix alone, because a job can print any
// number of them. A diagnostic line that repeats a console line ("… Terminal] WRITE LINE: …") is
// rejected too, since the console line itself always comes (Terminal.cs:154-163). Parse never
// panics and keeps no reference to line.
func Parse(line []byte) (Event, bool) {
	if hasPrefix(line, workerPrefix) || len(line) > MaxLine {
		return Event{}, false
	}
	line = bytes.TrimRight(line, "\r\n")
	if hasPrefix(line, runnerPrefix) {
		return parseDiag(line)
	}
	at, body, hasStamp := cutStamp(line)
	if len(body) == 0 {
		return Event{}, false
	}
	in, rows := body, &consoleRows
	if said, ok := cutError(body); ok {
		in, rows = said, &errorRows
	}
	for _, p := range rows.of(in) {
		if p.where == stamped && !hasStamp {
			continue
		}
		if e, ok := p.match(in); ok {
			e.Time, e.Text = at, text(body)
			return e, true
		}
	}
	if hasStamp {
		return Event{Kind: Unrecognized, Time: at, Text: text(body)}, false
	}
	return Event{}, false
}

// parseDiag reads "[RUNNER {ts} INFO Source] message" (HostTraceListener.cs). Most of these lines
// have no meaning here.
func parseDiag(line []byte) (Event, bool) {
	at, _, ok := stamp(line[len(runnerPrefix):])
	if !ok {
		return Event{}, false
	}
	_, msg, ok := bytes.Cut(line, []byte("] "))
	if !ok {
		return Event{}, false
	}
	for _, p := range diagRows.of(msg) {
		if e, ok := p.match(msg); ok {
			e.Time, e.Text = at, text(msg)
			return e, true
		}
	}
	return Event{}, false
}

// match applies one row of the table to the part of the line that the row is about.
func (p *pattern) match(in []byte) (Event, bool) {
	rest, ok := cutPrefix(in, p.prefix)
	if !ok {
		return Event{}, false
	}
	switch p.suffix {
	case "":
	case "$":
		if len(rest) != 0 {
			return Event{}, false
		}
	default:
		if !hasSuffix(rest, p.suffix) {
			return Event{}, false
		}
		rest = rest[:len(rest)-len(p.suffix)]
	}
	e := Event{Kind: p.kind, Reason: p.reason}
	switch p.kind {
	case Version:
		e.Version = text(rest)
	case JobStarted:
		e.Job = text(rest)
	case JobCompleted:
		name, word, ok := cutResult(rest)
		if !ok {
			return Event{}, false
		}
		e.Job, e.Result = text(name), result(word)
	}
	return e, true
}

// cutResult splits "NAME completed with result: WORD" at the last possible place, because NAME is
// arbitrary text.
func cutResult(b []byte) (name, word []byte, ok bool) {
	i := bytes.LastIndex(b, []byte(completedWith))
	if i < 0 {
		return nil, nil, false
	}
	name, word = b[:i], b[i+len(completedWith):]
	if len(word) == 0 || len(word) > 32 {
		return nil, nil, false
	}
	for _, c := range word {
		if (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') {
			return nil, nil, false
		}
	}
	return name, word, true
}

// result returns the constant for a word, or "" for one that the runner did not have when this was
// written.
func result(word []byte) Result {
	switch string(word) {
	case string(Succeeded):
		return Succeeded
	case string(SucceededWithIssues):
		return SucceededWithIssues
	case string(Failed):
		return Failed
	case string(Canceled):
		return Canceled
	case string(Skipped):
		return Skipped
	case string(Abandoned):
		return Abandoned
	}
	return ""
}

// cutError removes what the listener puts before the message of what ended it.
func cutError(b []byte) (message []byte, ok bool) {
	if message, ok = cutPrefix(b, errorOccurred); ok {
		return message, true
	}
	return cutPrefix(b, errorOccured)
}

// cutStamp removes a leading "{ts}: ".
func cutStamp(line []byte) (at time.Time, body []byte, ok bool) {
	at, rest, ok := stamp(line)
	if !ok {
		return time.Time{}, line, false
	}
	if body, ok = cutPrefix(rest, ": "); !ok {
		return time.Time{}, line, false
	}
	return at, body, true
}

// stamp reads .NET's DateTime.UtcNow:u, "2026-08-20 12:00:00Z": always UTC, whole seconds, a space
// and no T. Written by hand because time.Parse would allocate for every line that has none.
func stamp(b []byte) (at time.Time, rest []byte, ok bool) {
	const layout = "dddd-dd-dd dd:dd:ddZ"
	if len(b) < len(layout) {
		return time.Time{}, nil, false
	}
	var fields [6]int
	field := 0
	for i := range len(layout) {
		c := b[i]
		if layout[i] != 'd' {
			if c != layout[i] {
				return time.Time{}, nil, false
			}
			field++
			continue
		}
		if c < '0' || c > '9' {
			return time.Time{}, nil, false
		}
		fields[field] = fields[field]*10 + int(c-'0')
	}
	year, month, day := fields[0], fields[1], fields[2]
	hour, minute, second := fields[3], fields[4], fields[5]
	if month < 1 || month > 12 || day < 1 || day > 31 || hour > 23 || minute > 59 || second > 60 {
		return time.Time{}, nil, false
	}
	return time.Date(year, time.Month(month), day, hour, minute, second, 0, time.UTC), b[len(layout):], true
}

// text copies at most MaxText bytes, as valid UTF-8.
func text(b []byte) string {
	s := string(b[:min(len(b), MaxText)])
	return strings.ToValidUTF8(s, "")
}

func hasPrefix(b []byte, p string) bool { return len(b) >= len(p) && string(b[:len(p)]) == p }

func hasSuffix(b []byte, s string) bool { return len(b) >= len(s) && string(b[len(b)-len(s):]) == s }

func cutPrefix(b []byte, p string) ([]byte, bool) {
	if !hasPrefix(b, p) {
		return nil, false
	}
	return b[len(p):], true
}
