package docker

import (
	"hash/crc32"
	"time"
)

// position is the place in a log up to which lines were delivered, so that a stream that is opened again, which repeats
// some lines, delivers none twice and loses none.
//
// The engine can be asked for the log since a time, inclusive. But many lines may bear one time, the lines of stdout and
// stderr are not strictly in the order of their times, and the clock that makes the times may step back. The order of
// the log itself never changes, though: so a stream is asked for from somewhat earlier, and everything in it is skipped
// up to the line that was delivered last, which is known by its time, its content, and its place among neighbours of
// the same time.
type position struct {
	Mark

	behind bool // the stream was opened again and has not yet passed the position
	met    int  // lines in a row met again that bear the time At

	watched bool // the mark is that of another process, whose place was not found yet
	gap     bool // and cannot be: lines behind it are lost
}

// Mark is what must be known to go on in the log of a container where a reader was, in another process too.
type Mark struct {
	Runner    string // the slot
	Container string // id
	InRun     bool   // Started was called, Ended not yet
	Passed    int64  // the latest begin or end of a run that was told, in Unix nanoseconds

	At   int64  // of the last line delivered, in Unix nanoseconds; 0: none yet
	Same int    // how many lines in a row, that one included, bore this time
	Sum  uint32 // of its content
	High int64  // the latest time delivered
	Open int64  // of the earliest line that had begun but not ended then; 0: none
}

// disorder is how much earlier a line may be than the one before it.
const disorder = 2 * time.Second

// castagnoli is computed by the processor itself, several bytes at a time.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// reopen prepares for another stream and returns the time that it must be asked for; the zero time is the whole log.
func (p *position) reopen() (since time.Time) {
	if p.At == 0 {
		return time.Time{}
	}
	from := p.At
	if p.Open != 0 {
		from = min(from, p.Open)
	}
	p.behind, p.met = true, 0
	return time.Unix(0, from).Add(-disorder)
}

// again says that the stream goes over lines that were delivered, from somewhere before the position.
func (p *position) again() { p.behind, p.met = p.At != 0, 0 }

// isLast reports whether the line is like the one that was delivered last, the time included.
func (p *position) isLast(at int64, line []byte) bool {
	return at == p.At && crc32.Checksum(line, castagnoli) == p.Sum
}

// admit reports whether the line is to be delivered, and if so moves behind it.
func (p *position) admit(at int64, line []byte) bool {
	sum := crc32.Checksum(line, castagnoli)
	if p.behind {
		if at == p.At {
			p.met++
			p.behind = p.met < p.Same || sum != p.Sum
			p.watched = p.watched && p.behind
			return false
		}
		p.met = 0
		if at <= p.High {
			return false
		}
		// The log was rotated, or emptied, past the position.
		p.behind, p.gap, p.watched = false, p.watched, false
	}
	if at != p.At {
		p.At, p.Same = at, 0
	}
	p.Same++
	p.Sum = sum
	p.High = max(p.High, at)
	return true
}
