package engine

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
	})
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
		s := newLogStream(io.LimitReader(&endless{unit: []byte(unit)}, 64<<20), func(int64, []byte) { t.Error("a line") })
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
	for range 1000 {
		want := time.Unix(rand.Int64N(4e9), rand.Int64N(1e9)).UTC()
		b := []byte(want.Format("2006-01-02T15:04:05.000000000Z07:00") + " rest")
		if at, rest, ok := cutStamp(b); !ok || at != want.UnixNano() || string(rest) != "rest" {
			t.Fatalf("%s: %d, %q, %t", b, at, rest, ok)
		}
	}
	for _, bad := range []string{"", " ", "2026", "2026-11-23T12:00:00.00000000xZ a", "2026-13-23T12:00:00.000000000Z a", "2026/11/23T12:00:00.000000000Z a", "no time at all in this line, is it?"} {
		if at, rest, ok := cutStamp([]byte(bad)); ok || string(rest) != bad {
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

// The way of a line that nobody cares for must cost next to nothing.
func TestLineAllocs(t *testing.T) {
	in := bytes.Repeat(frame(1, stamp+"[2026-11-23 12:00:00Z INFO Worker] a line of no interest\n"), 1000)
	var p position
	p.reopen()
	r := bytes.NewReader(in)
	s := newLogStream(r, func(at int64, line []byte) { p.admit(at, line) })
	// The fewest of several, because goroutines that another test left behind allocate in the same heap.
	fewest := math.Inf(1)
	for range 5 {
		fewest = min(fewest, testing.AllocsPerRun(10, func() {
			r.Reset(in)
			s.r.Reset(r)
			if err := s.read(); err != nil {
				t.Fatal(err)
			}
		}))
	}
	if fewest > 0 {
		t.Errorf("%v allocations per 1000 lines", fewest)
	}
}

func BenchmarkLine(b *testing.B) {
	unit := frame(1, stamp+"[2026-11-23 12:00:00Z INFO Worker] a line of no interest\n")
	b.SetBytes(int64(len(unit)))
	b.ReportAllocs()
	var p position
	p.reopen()
	s := newLogStream(io.LimitReader(&endless{unit: unit}, int64(b.N)*int64(len(unit))), func(at int64, line []byte) { p.admit(at, line) })
	if err := s.read(); err != nil {
		b.Fatal(err)
	}
}
