package supervisor

import (
	"bufio"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/blueguy23/ghostrunner/internal/listener"
)

// progress is what the lines of one listener process have told so far.
type progress struct {
	listening     bool
	jobsStarted   int
	jobsCompleted int
	jobOffered    bool            // one was handed out
	jobSkipped    bool            // one was handed out that could not be acquired
	jobNews       time.Time       // when one was handed out or announced last
	result        listener.Result // of the last completed job
	conflict      bool
	failure       listener.Reason // the first that was named; later lines tend to be consequences
	text          string          // of that failure
}

// ledger collects the progress from both streams of a process and announces that there is something new.
type ledger struct {
	changed chan struct{} // capacity 1

	mu  sync.Mutex
	now progress
}

func newLedger() *ledger { return &ledger{changed: make(chan struct{}, 1)} }

func (l *ledger) progress() progress {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.now
}

func (l *ledger) line(line []byte) {
	e, ok := listener.Parse(line)
	if !ok {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	switch e.Kind {
	case listener.Listening:
		l.now.listening = true
	case listener.JobOffered:
		l.now.jobOffered, l.now.jobNews = true, time.Now()
	case listener.JobStarted:
		l.now.jobsStarted++
		l.now.jobNews = time.Now()
	case listener.JobCompleted:
		l.now.jobsCompleted++
		l.now.result = e.Result
	case listener.JobSkipped:
		l.now.jobSkipped = true
	case listener.SessionConflict:
		l.now.conflict = true
	case listener.Failure:
		if l.now.failure == "" {
			l.now.failure, l.now.text = e.Reason, e.Text
		}
	default:
		return
	}
	select {
	case l.changed <- struct{}{}:
	default:
	}
}

// maxLine bounds the memory for one line of the listener.
const maxLine = listener.MaxLine

// pump passes everything from the listener on to out, line by line, and shows each line to see. A line that is longer than
// maxLine is passed on whole, in pieces, and not shown: no line with a meaning is that long. If out fails, the listener
// must not be blocked or killed by it, so reading goes on.
func pump(from io.Reader, out io.Writer, see func(line []byte)) {
	r := bufio.NewReaderSize(from, maxLine)
	long := false
	for {
		line, err := r.ReadSlice('\n')
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			_, _ = out.Write(line)
			long = true
			continue
		case err != nil && len(line) == 0 && !long:
			return
		case err != nil: // the last line has no end; do not glue the next process's first line to it
			line = append(line, '\n')
		}
		_, _ = out.Write(line)
		if !long {
			see(line)
		}
		long = false
		if err != nil {
			return
		}
	}
}
