package engine

import (
	"hash/maphash"
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
	at   int64 // of the last line delivered, in Unix nanoseconds; 0: none yet
	n    int   // how many lines in a row, that one included, bore this time
	sum  uint64
	high int64 // the latest time delivered

	behind bool // the stream was opened again and has not yet passed the position
	met    int  // lines in a row met again that bear the time at
	seed   maphash.Seed
}

// disorder is how much earlier a line may be than the one before it.
const disorder = 2 * time.Second

// reopen prepares for another stream and returns the time that it must be asked for; the zero time is the whole log.
// Open is the time of the earliest line that had begun when the last stream ended, 0 if there is none.
func (p *position) reopen(open int64) (since time.Time) {
	if p.at == 0 {
		p.seed = maphash.MakeSeed()
		return time.Time{}
	}
	from := p.at
	if open != 0 {
		from = min(from, open)
	}
	p.behind, p.met = true, 0
	return time.Unix(0, from).Add(-disorder)
}

// admit reports whether the line is to be delivered, and if so moves behind it.
func (p *position) admit(at int64, line []byte) bool {
	sum := maphash.Bytes(p.seed, line)
	if p.behind {
		if at == p.at {
			p.met++
			p.behind = p.met < p.n || sum != p.sum
			return false
		}
		p.met = 0
		if at <= p.high {
			return false
		}
		// The log was rotated, or emptied, past the position.
		p.behind = false
	}
	if at != p.at {
		p.at, p.n = at, 0
	}
	p.n++
	p.sum = sum
	p.high = max(p.high, at)
	return true
}
