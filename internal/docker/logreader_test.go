package docker

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"
)

const stamp = "2026-11-23T12:00:00.000000001Z "

// frame is one message as the engine sends it without a terminal.
func frame(kind byte, payload string) []byte {
	b := []byte{kind, 0, 0, 0, 0, 0, 0, 0}
	binary.BigEndian.PutUint32(b[4:], uint32(len(payload)))
	return append(b, payload...)
}

func frames(f ...[]byte) string { return string(slices.Concat(f...)) }

// readLines reads a log into a fresh pair of readers.
func readLines(r io.Reader) (lines []string, err error) {
	var streams [2]lineReader
	for i := range streams {
		streams[i].deliver = func(at time.Time, line []byte) { lines = append(lines, fmt.Sprintf("%d %s", at.Sub(t0), line)) }
	}
	return lines, readLog(r, &streams[0], &streams[1])
}

func TestReadLog(t *testing.T) {
	later := strings.Replace(stamp, "001Z", "002Z", 1)
	long := strings.Repeat("x", maxLine)
	for name, tc := range map[string]struct {
		in   string
		want []string
	}{
		"empty":                 {"", nil},
		"both streams":          {frames(frame(1, stamp+"out\n"), frame(2, later+"err\n")), []string{"1 out", "2 err"}},
		"an empty line":         {frames(frame(1, stamp+"\n")), []string{"1 "}},
		"a long line":           {frames(frame(1, stamp+long), frame(1, stamp+"y"), frame(1, stamp+"z\n"), frame(1, later+"b\n")), []string{"1 " + long, "2 b"}},
		"a long line, mixed":    {frames(frame(1, stamp+long), frame(2, later+"err\n"), frame(1, stamp+"y\n")), []string{"1 " + long, "2 err"}},
		"local time":            {frames(frame(1, "2026-11-23T14:00:00.000000001+02:00 a\n")), []string{"1 a"}},
		"no fraction":           {frames(frame(1, "2026-11-23T12:00:00Z a\n")), []string{"0 a"}},
		"cut in a header":       {frames(frame(1, stamp+"a\n")) + "\x01\x00", []string{"1 a"}},
		"cut in a payload":      {frames(frame(1, stamp+"a\n"))[:20], nil},
		"terminal":              {stamp + "a\r\n" + later + "b\r\n", []string{"1 a", "2 b"}},
		"terminal, a long line": {stamp + long + stamp + long + stamp + "y\r\n" + later + "b\r\n", []string{"1 " + long, "2 b"}},
		"terminal, cut":         {stamp + "a\r\n" + later + "b", []string{"1 a"}},
	} {
		t.Run(name, func(t *testing.T) {
			for how, r := range map[string]io.Reader{"whole": strings.NewReader(tc.in), "byte by byte": iotest.OneByteReader(strings.NewReader(tc.in))} {
				got, err := readLines(r)
				if err != nil {
					t.Errorf("%s: %v", how, err)
				}
				if diff := cmp.Diff(tc.want, got); diff != "" {
					t.Errorf("%s (-want +got):\n%.500s", how, diff)
				}
			}
		})
	}
	for _, in := range []string{frames(frame(3, "driver gone\n")), frames(frame(1, stamp+"a\n")) + "garbage and more", "\x01\x00\x00\x00\x00\x00\x00\x04" + "abc"} {
		if _, err := readLines(io.MultiReader(strings.NewReader(in), iotest.ErrReader(io.ErrUnexpectedEOF))); err == nil {
			t.Errorf("%q: no error", in)
		}
	}
}

func FuzzReadLog(f *testing.F) {
	f.Add(frames(frame(1, stamp+"a\n"), frame(2, stamp+"b")))
	f.Add(stamp + "a\r\n")
	f.Fuzz(func(t *testing.T, in string) {
		if len(in) > 4 && in[0] <= 3 && binary.BigEndian.Uint32([]byte(in + "\x00\x00\x00\x00")[4:]) > 1<<20 {
			t.Skip("stdcopy makes a buffer for the frame that is announced")
		}
		_, _ = readLines(strings.NewReader(in)) // must end, and not panic
	})
}

// A stream that was dropped anywhere and is opened again delivers each line once, whatever the
// engine repeats.
func TestResumedStreamDeliversEachLineOnce(t *testing.T) {
	type message struct {
		kind byte
		at   time.Time
		text string
	}
	var log []message
	for i := range 200 {
		m := message{1, t0.Add(time.Duration(i) * time.Millisecond), strconv.Itoa(i)}
		if i%3 == 0 { // stderr is read a little later
			m.kind, m.at = 2, m.at.Add(-1500*time.Microsecond)
		}
		log = append(log, m)
	}
	for stop := range log {
		var got []string
		var streams [2]lineReader
		attach := func(since time.Time, log []message) {
			var in []byte
			for _, m := range log {
				if !m.at.Before(since) {
					in = append(in, frame(m.kind, m.at.Format(time.RFC3339Nano)+" "+m.text+"\n")...)
				}
			}
			for i := range streams {
				streams[i].deliver = func(_ time.Time, line []byte) { got = append(got, string(line)) }
			}
			if err := readLog(bytes.NewReader(in), &streams[0], &streams[1]); err != nil {
				t.Fatal(err)
			}
		}
		attach(time.Time{}, log[:stop])
		f := follower{streams: streams}
		attach(f.last().Add(-resumeOverlap), log)
		attach(f.last().Add(-resumeOverlap), log) // nothing is new
		var want []string
		for _, m := range log {
			want = append(want, m.text)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("dropped after %d lines (-want +got):\n%s", stop, diff)
		}
	}
}

// The engine can read a part of a rotated file twice while it follows (20.10). After the clock was
// set back, earlier times are new lines.
func TestRepeatedLines(t *testing.T) {
	type span struct{ from, to int }
	for name, tc := range map[string]struct {
		shift time.Duration // of the lines after the first span
		sent  []span
		want  []span
	}{
		"once":                   {0, []span{{0, 100}, {100, 200}}, []span{{0, 200}}},
		"the last part again":    {0, []span{{0, 100}, {60, 200}}, []span{{0, 200}}},
		"all of it again":        {0, []span{{50, 100}, {0, 100}, {100, 200}}, []span{{50, 200}}},
		"the clock was set back": {-time.Minute, []span{{0, 100}, {100, 200}}, []span{{0, 200}}},
	} {
		t.Run(name, func(t *testing.T) {
			begin := time.Now().Add(-time.Hour)
			if tc.shift != 0 {
				begin = time.Now().Add(-tc.shift) // what was written before is in the future now
			}
			var got, want []string
			var r lineReader
			r.deliver = func(_ time.Time, line []byte) { got = append(got, string(line)) }
			for i, s := range tc.sent {
				for n := s.from; n < s.to; n++ {
					at := begin.Add(time.Duration(n) * time.Millisecond)
					if i > 0 {
						at = at.Add(tc.shift)
					}
					_, _ = fmt.Fprintf(&r, "%s %d\n", at.UTC().Format(time.RFC3339Nano), n)
				}
			}
			for _, s := range tc.want {
				for n := s.from; n < s.to; n++ {
					want = append(want, strconv.Itoa(n))
				}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("lines (-want +got):\n%s", diff)
			}
		})
	}
}

func TestLineDoesNotAllocate(t *testing.T) {
	message := []byte(stamp + workerLine)
	var r lineReader
	r.deliver = func(time.Time, []byte) {}
	if n := testing.AllocsPerRun(1000, func() {
		r.last = time.Time{}
		_, _ = r.Write(message)
	}); n > 0 {
		t.Errorf("%v allocations a line", n)
	}
}

// workerLine is a line of a worker as long as they are on average, listenerLine one of the
// listener.
const (
	workerLine   = "[WORKER 2026-11-23 12:00:00Z INFO ProcessInvokerWrapper] STDOUT/STDERR stream read: go: downloading github.com/prometheus/client_golang v1.23.2, and what a build prints besides\n"
	listenerLine = "2026-11-23 12:00:00Z: Job build (linux) completed with result: Succeeded\n"
)

// endless repeats a text for ever.
type endless struct {
	unit []byte
	off  int
}

func (e *endless) Read(b []byte) (n int, err error) {
	for n < len(b) {
		k := copy(b[n:], e.unit[e.off:])
		n, e.off = n+k, (e.off+k)%len(e.unit)
	}
	return n, nil
}

// BenchmarkLine is the whole way of a line through this package, from the bytes that the engine
// sends to the sink.
func BenchmarkLine(b *testing.B) {
	for name, line := range map[string]string{"worker": workerLine, "listener": listenerLine} {
		b.Run(name, func(b *testing.B) {
			unit := frame(1, stamp+line)
			b.SetBytes(int64(len(unit)))
			b.ReportAllocs()
			var r lineReader
			n := 0
			r.deliver = func(time.Time, []byte) {
				n++
				r.last = time.Time{} // all lines have the same time
			}
			if err := readLog(io.LimitReader(&endless{unit: bytes.Repeat(unit, 300)}, int64(b.N)*int64(len(unit))), &r, &r); err != nil {
				b.Fatal(err)
			}
			if n != b.N {
				b.Errorf("%d lines, want %d", n, b.N)
			}
		})
	}
}
