package docker

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
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

func readAll(r io.Reader) (lines []string, err error) {
	s := newLogStream(r, func(at int64, line []byte) {
		lines = append(lines, fmt.Sprintf("%d %s", at-t0.UnixNano(), line))
	}, func() {})
	return lines, s.read()
}

func TestLogStream(t *testing.T) {
	later := strings.Replace(stamp, "001Z", "002Z", 1)
	long := strings.Repeat("x", 3*readBuffer)
	for name, tc := range map[string]struct {
		in   string
		want []string
		err  error
	}{
		"empty":                   {"", nil, nil},
		"both streams":            {frames(frame(1, stamp+"out\n"), frame(2, later+"err\n")), []string{"1 out", "2 err"}, nil},
		"an empty line":           {frames(frame(1, stamp+"\n")), []string{"1 "}, nil},
		"pieces of a line":        {frames(frame(1, stamp+"a"), frame(1, stamp+"b"), frame(1, stamp+"c\n")), []string{"1 abc"}, nil},
		"pieces, interleaved":     {frames(frame(1, stamp+"a"), frame(2, later+"err\n"), frame(1, stamp+"b\n")), []string{"2 err", "1 ab"}, nil},
		"a frame over the buffer": {frames(frame(1, stamp+long+"\n"), frame(1, later+"b\n")), []string{"1 " + long, "2 b"}, nil},
		"two lines in a frame":    {frames(frame(1, stamp+"a\nb\n")), []string{"1 a", "1 b"}, nil},
		"no end":                  {frames(frame(1, stamp+"a\n"), frame(1, stamp+"b")), []string{"1 a"}, nil},
		"local time":              {frames(frame(1, "2026-11-23T14:00:00.000000001+02:00 a\n")), []string{"1 a"}, nil},
		"short fraction":          {frames(frame(1, "2026-11-23T12:00:00Z a\n")), []string{"0 a"}, nil},
		"cut in a header":         {frames(frame(1, stamp+"a\n")) + "\x01\x00", []string{"1 a"}, io.ErrUnexpectedEOF},
		"cut in a payload":        {frames(frame(1, stamp+"a\n"))[:20], nil, io.ErrUnexpectedEOF},
		"not a frame":             {frames(frame(1, stamp+"a\n")) + "garbage and more", []string{"1 a"}, errFrame},
		"a giant frame":           {"\x01\x00\x00\x00\xff\xff\xff\xff", nil, errFrame},
		"terminal":                {stamp + "a\r\n" + later + "b\r\n", []string{"1 a", "2 b"}, nil},
		"terminal, long":          {stamp + long[:chunkSize] + stamp + "y\r\n" + later + "b\r\n", []string{"1 " + long[:chunkSize] + "y", "2 b"}, nil},
		"terminal, split CR":      {stamp + long[:chunkSize-1] + "\r" + stamp + "\n", []string{"1 " + long[:chunkSize-1]}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			for how, r := range map[string]io.Reader{"whole": strings.NewReader(tc.in), "byte by byte": iotest.OneByteReader(strings.NewReader(tc.in))} {
				got, err := readAll(r)
				if !errors.Is(err, tc.err) || tc.err == nil && err != nil {
					t.Errorf("%s: error %v, want %v", how, err, tc.err)
				}
				if diff := cmp.Diff(tc.want, got); diff != "" {
					t.Errorf("%s (-want +got):\n%.500s", how, diff)
				}
			}
		})
	}
	if _, err := readAll(strings.NewReader(frames(frame(3, "driver gone\n")))); err == nil || !strings.Contains(err.Error(), "driver gone") {
		t.Errorf("error of the engine: %v", err)
	}
}

// A line without end takes no more memory than a line may have.
func TestLogStreamBound(t *testing.T) {
	for name, unit := range map[string]string{"frames": frames(frame(1, stamp+strings.Repeat("x", chunkSize))), "terminal": stamp + strings.Repeat("x", chunkSize)} {
		s := newLogStream(io.LimitReader(&endless{unit: []byte(unit)}, 64<<20), func(int64, []byte) { t.Error("a line") }, func() {})
		_ = s.read()
		if c := cap(s.parts[0].buf); c > 2*maxLine {
			t.Errorf("%s: %d bytes are held", name, c)
		}
	}
}

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

func FuzzLogStream(f *testing.F) {
	f.Add(frames(frame(1, stamp+"a\n"), frame(2, stamp+"b")))
	f.Add(stamp + "a\r\n")
	f.Fuzz(func(_ *testing.T, in string) {
		_, _ = readAll(strings.NewReader(in)) // must end, and not panic
	})
}

func TestCutStamp(t *testing.T) {
	var reader stampReader
	second := time.Unix(0, 0)
	for i := range 1000 {
		if i%3 == 0 { // the others are of the same second as the one before
			second = time.Unix(rand.Int64N(4e9), 0)
		}
		want := second.Add(time.Duration(rand.Int64N(1e9))).UTC()
		b := []byte(want.Format("2006-01-02T15:04:05.000000000Z07:00") + " rest")
		if at, rest, ok := reader.cut(b); !ok || at != want.UnixNano() || string(rest) != "rest" {
			t.Fatalf("%s: %d, %q, %t", b, at, rest, ok)
		}
	}
	for _, bad := range []string{"", " ", "2026", "2026-11-23T12:00:00.00000000xZ a", "2026-13-23T12:00:00.000000000Z a", "2026/11/23T12:00:00.000000000Z a", "no time at all in this line, is it?"} {
		if at, rest, ok := reader.cut([]byte(bad)); ok || string(rest) != bad {
			t.Errorf("%q: read as %d, rest %q", bad, at, rest)
		}
	}
}

// Reading again from any place delivers exactly what was not delivered, whatever the times are.
func TestPosition(t *testing.T) {
	type line struct {
		at   int64
		text string
	}
	base := t0.UnixNano()
	logs := map[string][]line{}
	for i := range int64(200) {
		add := func(name string, at int64, text string) { logs[name] = append(logs[name], line{base + at, text}) }
		id := strconv.FormatInt(i, 10)
		add("distinct", i, id)
		add("one time for all", 0, id)
		add("one time for ten", i/10, id)
		add("alike within one time", i/10, "same")
		add("slightly disordered", i+5*(i%3), id)
		step := int64(0)
		if i >= 100 {
			step = -150 * int64(time.Millisecond)
		}
		add("clock stepped back", i*int64(time.Millisecond)+step, id)
	}
	for name, log := range logs {
		for stop := range log {
			var p position
			var got []line
			p.reopen()
			for _, l := range log[:stop] {
				if p.admit(l.at, []byte(l.text)) {
					got = append(got, l)
				}
			}
			for range 2 { // the second time nothing is new
				since := p.reopen()
				for _, l := range log {
					if !since.IsZero() && l.at < since.UnixNano() {
						continue // as the engine does
					}
					if p.admit(l.at, []byte(l.text)) {
						got = append(got, l)
					}
				}
			}
			if !slices.Equal(got, log) {
				t.Fatalf("%s, broken after %d lines: %d lines, want %d", name, stop, len(got), len(log))
			}
		}
	}
}

// A log that was rotated past the position is read on.
func TestPositionRotated(t *testing.T) {
	var p position
	p.reopen()
	for i := range int64(10) {
		p.admit(100+i, []byte("old"))
	}
	p.reopen()
	for i := range int64(10) {
		if !p.admit(200+i, []byte("new")) {
			t.Fatalf("line %d after a rotation is skipped", i)
		}
	}
	p.Open = 50
	if since := p.reopen(); since.UnixNano() != 50-int64(disorder) {
		t.Errorf("an open line is not asked for again: since %s", since)
	}
}

// A stream that waits holds no buffer, whatever came before and however it came.
func TestIdleStreamHoldsNoBuffer(t *testing.T) {
	for name, in := range map[string]string{
		"frames":   frames(frame(1, stamp+"a\n"), frame(2, stamp+strings.Repeat("x", 2*readBuffer)+"\n"), frame(1, stamp+"half a line")),
		"terminal": stamp + "a\r\n" + stamp + strings.Repeat("x", 100) + "\r\n",
	} {
		for _, piece := range []int{1, 7, 64, 65, 4096, 1 << 20} {
			r := &pieces{rest: in, size: piece}
			var lines int
			s := newLogStream(r, func(int64, []byte) { lines++ }, func() {})
			r.atEnd = func() {
				if s.buf != nil {
					t.Errorf("%s, %d bytes at a time: %d bytes are held while nothing comes", name, piece, s.w-s.r)
				}
			}
			if err := s.read(); err != nil || lines != 2 {
				t.Errorf("%s, %d bytes at a time: %d lines, %v", name, piece, lines, err)
			}
		}
	}
}

// pieces is a reader that gives at most size bytes at once, and at its end calls atEnd first.
type pieces struct {
	rest  string
	size  int
	atEnd func()
}

func (p *pieces) Read(b []byte) (int, error) {
	if p.rest == "" {
		p.atEnd()
		return 0, io.EOF
	}
	n := copy(b, p.rest[:min(len(p.rest), p.size)])
	p.rest = p.rest[n:]
	return n, nil
}

// tally is a LineSink that counts.
type tally struct {
	lines, skipped uint64
	mark           Mark
}

func (*tally) Replaying(string, bool)                {}
func (*tally) Started(*Mark, time.Time)              {}
func (*tally) Ended(*Mark, time.Time)                {}
func (*tally) Lost(string)                           {}
func (*tally) Removed(string)                        {}
func (*tally) Forget(string)                         {}
func (*tally) Noise(line []byte) bool                { return bytes.HasPrefix(line, []byte("[WORKER ")) }
func (c *tally) Line(m *Mark, _ time.Time, _ []byte) { c.lines++; c.mark = *m }
func (c *tally) Skipped(m *Mark, _ time.Time, n uint64) {
	c.skipped += n
	c.mark = *m
}

// reading is a follower in the middle of a run, and the stream that it reads.
func reading(r io.Reader) (*follower, *tally) {
	sink := &tally{}
	f := &follower{Engine: &Engine{table: newTable()}, sink: sink}
	f.pos.InRun = true
	f.stream = newLogStream(r, f.line, f.drained)
	return f, sink
}

// noise is a line of a worker as long as they are on average, and one of the listener.
const (
	noise  = "[WORKER 2026-11-23 12:00:00Z INFO ProcessInvokerWrapper] STDOUT/STDERR stream read: go: downloading github.com/prometheus/client_golang v1.23.2, and what a build prints besides\n"
	spoken = "2026-11-23 12:00:00Z: Job build (linux) completed with result: Succeeded\n"
)

// Noise is told of before anything else is, with the place behind it, and never lost or counted twice.
func TestSkippedIsToldInOrder(t *testing.T) {
	var all []byte
	for i := range 50 {
		at := time.Unix(1_800_000_000, int64(i)).UTC().Format("2006-01-02T15:04:05.000000000Z") + " "
		text := noise
		if i%10 == 9 {
			text = spoken
		}
		all = append(all, frame(1, at+text)...)
	}
	in := string(all)
	for _, piece := range []int{13, 1000, 1 << 20} {
		f, sink := reading(&pieces{rest: in, size: piece, atEnd: func() {}})
		told := &orderly{tally: sink, t: t}
		f.sink = told
		if err := f.stream.read(); err != nil {
			t.Fatal(err)
		}
		if sink.skipped != 45 || sink.lines != 5 || sink.mark.At != 1_800_000_000e9+49 {
			t.Errorf("%d bytes at a time: %d lines skipped and %d told, up to %d", piece, sink.skipped, sink.lines, sink.mark.At)
		}
		if most := map[int]int{13: 45, 1000: 45, 1 << 20: 5}[piece]; told.calls > most {
			t.Errorf("%d bytes at a time: told %d times of noise", piece, told.calls)
		}
	}
}

// What the engine tells twice comes once; what comes after its clock was set back comes.
func TestEngineThatRepeats(t *testing.T) {
	now := time.Now().Truncate(time.Hour)
	line := func(kind byte, at time.Time, n int) []byte {
		return frame(kind, at.UTC().Format("2006-01-02T15:04:05.000000000Z")+" "+strconv.Itoa(n)+"\n")
	}
	type span struct{ from, to int }
	for name, tc := range map[string]struct {
		shift time.Duration // of the lines behind the first span
		told  []span
		want  []span
	}{
		"once":                     {0, []span{{0, 100}, {100, 200}}, []span{{0, 200}}},
		"the last part again":      {0, []span{{0, 100}, {60, 200}}, []span{{0, 200}}},
		"the last line again":      {0, []span{{0, 100}, {99, 200}}, []span{{0, 200}}},
		"twice":                    {0, []span{{0, 100}, {60, 120}, {10, 200}}, []span{{0, 200}}},
		"all of it, and more lost": {0, []span{{50, 100}, {0, 40}, {150, 200}}, []span{{50, 100}, {150, 200}}},
		"the clock was set back":   {-time.Minute, []span{{0, 100}, {100, 200}}, []span{{0, 200}}},
	} {
		t.Run(name, func(t *testing.T) {
			begin := now
			if tc.shift != 0 {
				begin = time.Now().Add(-tc.shift) // what was written before is in the future now
			}
			var in []byte
			for i, s := range tc.told {
				for n := s.from; n < s.to; n++ {
					at := begin.Add(time.Duration(n) * time.Millisecond)
					if i > 0 {
						at = at.Add(tc.shift)
					}
					kind := byte(1 + n%2)
					if kind == 2 {
						at = at.Add(-1500 * time.Microsecond) // stderr is told a little late
					}
					in = append(in, line(kind, at, n)...)
				}
			}
			f, _ := reading(bytes.NewReader(in))
			f.live = true
			var got []string
			f.sink = &collecting{got: &got}
			if err := f.stream.read(); err != nil {
				t.Fatal(err)
			}
			var want []string
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

// collecting is a LineSink that keeps the lines.
type collecting struct {
	tally

	got *[]string
}

func (c *collecting) Line(_ *Mark, _ time.Time, line []byte) { *c.got = append(*c.got, string(line)) }

// orderly checks that each mark is that of the line or the noise that it comes with: lines are one nanosecond apart.
type orderly struct {
	*tally

	t     *testing.T
	calls int
}

func (o *orderly) Line(m *Mark, at time.Time, line []byte) {
	o.tally.Line(m, at, line)
	o.check(m, at)
}

func (o *orderly) Skipped(m *Mark, at time.Time, n uint64) {
	o.calls++
	o.tally.Skipped(m, at, n)
	o.check(m, at)
}

func (o *orderly) check(m *Mark, at time.Time) {
	if want := 1_800_000_000e9 + int64(o.lines+o.skipped) - 1; m.At != want || at.UnixNano() != want {
		o.t.Errorf("after %d lines: mark at %d, time %d", o.lines+o.skipped, m.At, at.UnixNano())
	}
}

// The way of a line must cost next to nothing.
func TestLineAllocs(t *testing.T) {
	for _, line := range []string{noise, spoken} {
		in := bytes.Repeat(frame(1, stamp+line), 1000)
		r := bytes.NewReader(in)
		f, _ := reading(r)
		// The fewest of several, because goroutines that another test left behind allocate in the same heap.
		fewest := math.Inf(1)
		for range 5 {
			fewest = min(fewest, testing.AllocsPerRun(10, func() {
				r.Reset(in)
				f.stream.err = nil
				if err := f.stream.read(); err != nil {
					t.Fatal(err)
				}
			}))
		}
		if fewest > 0 {
			t.Errorf("%v allocations per 1000 lines of %q", fewest, line)
		}
	}
}

// BenchmarkLine is the whole way of a line through this package, from the bytes that the engine sends to the sink.
func BenchmarkLine(b *testing.B) {
	for name, line := range map[string]string{"worker": noise, "listener": spoken} {
		b.Run(name, func(b *testing.B) {
			unit := frame(1, stamp+line)
			b.SetBytes(int64(len(unit)))
			b.ReportAllocs()
			f, _ := reading(io.LimitReader(&endless{unit: bytes.Repeat(unit, 300)}, int64(b.N)*int64(len(unit))))
			if err := f.stream.read(); err != nil {
				b.Fatal(err)
			}
		})
	}
}
