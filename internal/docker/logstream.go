package docker

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"
)

const (
	// maxLine is the most of a line that is delivered; the rest of it is discarded.
	maxLine = 1 << 20
	// chunkSize is where the engine splits long lines: each piece comes with the time in front of it (moby
	// daemon/logger/copier.go, defaultBufSize).
	chunkSize = 16 << 10
	// maxFrame is far above what the engine sends at once; more means that this is no frame.
	maxFrame = 16 << 20
	// keepBuffer is how much memory a stream keeps after a long line.
	keepBuffer = 64 << 10
	// readBuffer holds most frames whole, so that a line is handed on where it lies.
	readBuffer = 32 << 10
	// waited is longer than a reading takes of what is there already.
	waited = 50 * time.Microsecond
	// idleBuffer is what a stream has for itself while nothing comes.
	idleBuffer = 64

	frameHeader = 8
	stampWidth  = len("2006-01-02T15:04:05.000000000Z")
	secondWidth = len("2006-01-02T15:04:05")
)

// errFrame means that the stream cannot be read on.
var errFrame = errors.New("malformed log stream")

// partial is a line of which not all has come.
type partial struct {
	at   int64
	open bool
	buf  []byte
}

func (p *partial) append(b []byte, limit int) {
	p.open = true
	p.buf = append(p.buf, b[:min(len(b), max(0, limit-len(p.buf)))]...)
}

func (p *partial) reset() {
	p.open = false
	if p.buf = p.buf[:0]; cap(p.buf) > keepBuffer {
		p.buf = nil
	}
}

// logStream splits the answer to a logs request, with timestamps, into lines. With a terminal the answer is the bare
// text; without one it is a row of frames: stream (1 stdout, 2 stderr, 3 an error of the engine), three zero bytes, length,
// payload. The content type that tells them apart came with API 1.42, but as every line begins with a time, its first
// digit tells just as well.
//
// Nearly all streams are silent nearly all of the time. So the buffer is borrowed: a stream that has handed out all that came
// waits without one.
type logStream struct {
	// line is called for each line, without its end. The bytes are valid during the call only.
	line func(at int64, line []byte)
	// drained is called whenever the stream has handed out all that came, and before it ends.
	drained func()

	src   io.Reader
	buf   *[readBuffer]byte // nil while all is handed out
	r, w  int               // what is not handed out yet: buf[r:w]
	err   error             // of the last reading, told when what came with it is handed out
	late  bool              // nothing was there yet when it began
	idle  [idleBuffer]byte
	stamp stampReader
	parts [2]partial // stdout (or the terminal) and stderr
	from  int        // that of the line which is handed out now
}

// buffers are those of all streams.
var buffers = sync.Pool{New: func() any { return new([readBuffer]byte) }}

func newLogStream(src io.Reader, line func(int64, []byte), drained func()) *logStream {
	return &logStream{src: src, line: line, drained: drained}
}

// read hands out lines until the stream ends; nil at a clean end.
func (s *logStream) read() error {
	err := s.readAll()
	s.drained()
	s.release()
	return clean(err)
}

func (s *logStream) readAll() error {
	head, err := s.peek(1)
	if err != nil {
		return err
	}
	if head[0] > 3 {
		return s.readTerminal()
	}
	for {
		if err := s.readFrame(); err != nil {
			return err
		}
	}
}

// peek returns the next n bytes, which readBuffer must be able to hold; with an error it returns what there is of them.
func (s *logStream) peek(n int) ([]byte, error) {
	for s.w-s.r < n {
		if err := s.more(); err != nil {
			if s.buf == nil {
				return nil, err
			}
			return s.buf[s.r:s.w], err
		}
	}
	return s.buf[s.r : s.r+n], nil
}

// more waits for at least one byte more. There must be room for it once what is handed out is gone.
func (s *logStream) more() error {
	if s.err != nil {
		return s.err
	}
	if s.drained(); s.r == s.w {
		s.release()
	}
	var n int
	begun := time.Now()
	for n == 0 && s.err == nil {
		if s.buf == nil {
			if n, s.err = s.src.Read(s.idle[:]); n > 0 {
				s.buf = buffers.Get().(*[readBuffer]byte)
				s.r, s.w = 0, copy(s.buf[:], s.idle[:n])
			}
			continue
		}
		if s.r > 0 {
			s.r, s.w = 0, copy(s.buf[:], s.buf[s.r:s.w])
		}
		n, s.err = s.src.Read(s.buf[s.w:])
		s.w += n
	}
	if s.late = time.Since(begun) > waited; n == 0 {
		return s.err
	}
	return nil
}

func (s *logStream) release() {
	if s.buf != nil {
		buffers.Put(s.buf)
		s.buf, s.r, s.w = nil, 0, 0
	}
}

// earliest returns the time of the earliest line that has begun but not ended, 0 if there is none.
func (s *logStream) earliest() (at int64) {
	for i := range s.parts {
		if p := &s.parts[i]; p.open && (at == 0 || p.at < at) {
			at = p.at
		}
	}
	return at
}

func (s *logStream) readFrame() error {
	head, err := s.peek(frameHeader)
	if err != nil {
		if len(head) > 0 {
			return unexpected(err)
		}
		return err
	}
	kind, size := head[0], int(binary.BigEndian.Uint32(head[4:]))
	if head[1]|head[2]|head[3] != 0 || kind > 3 || size > maxFrame {
		return fmt.Errorf("%w: frame header % x", errFrame, head)
	}
	s.r += frameHeader
	if kind == 3 {
		return s.engineError(size)
	}
	if s.from = 0; kind == 2 {
		s.from = 1
	}
	p := &s.parts[s.from]
	for first := true; size > 0; first = false {
		b, err := s.peek(min(size, readBuffer))
		if err != nil {
			return unexpected(err)
		}
		s.r += len(b) // they stay where they are until more is read
		s.payload(p, b, first)
		size -= len(b)
	}
	return nil
}

// payload takes a frame's content, or the next piece of it. Only the begin of a frame bears a time.
func (s *logStream) payload(p *partial, b []byte, first bool) {
	at := p.at
	if first {
		if t, rest, ok := s.stamp.cut(b); ok {
			at, b = t, rest
		}
	}
	if !p.open {
		p.at = at
	}
	for {
		i := bytes.IndexByte(b, '\n')
		if i < 0 {
			if len(b) > 0 {
				p.append(b, maxLine)
			}
			return
		}
		if p.open {
			p.append(b[:i], maxLine)
			s.line(p.at, p.buf)
			p.reset()
		} else {
			s.line(at, b[:min(i, maxLine)])
		}
		p.at = at
		if b = b[i+1:]; len(b) == 0 {
			return
		}
	}
}

// engineError reads what the engine says where it cannot read the log on.
func (s *logStream) engineError(size int) error {
	const most = 512
	text, err := s.peek(min(size, most))
	if err != nil {
		return unexpected(err)
	}
	return fmt.Errorf("engine: %s", bytes.TrimSpace(text))
}

// readTerminal reads the text of a terminal, whose lines end in CR LF.
func (s *logStream) readTerminal() error {
	// Room for the time in front of each piece of a long line.
	const limit = maxLine + maxLine/chunkSize*(stampWidth+1) + 2*(stampWidth+1)
	p := &s.parts[0]
	for {
		b, whole, err := s.terminalPiece()
		if !p.open {
			t, rest, ok := s.stamp.cut(b)
			if ok {
				p.at, b = t, rest
			}
			if whole {
				s.line(p.at, s.terminalLine(b))
				continue
			}
		}
		if len(b) > 0 {
			p.append(b, limit)
		}
		switch {
		case whole:
			s.line(p.at, s.terminalLine(p.buf))
			p.reset()
		case err != nil:
			return err
		}
	}
}

// terminalPiece returns what comes up to the end of the line, which is whole then, or as much of it as the buffer holds.
func (s *logStream) terminalPiece() (piece []byte, whole bool, err error) {
	for searched := 0; ; {
		b, err := s.peek(searched + 1)
		if err == nil {
			b = s.buf[s.r:s.w]
		}
		if i := bytes.IndexByte(b[searched:], '\n'); i >= 0 {
			s.r += searched + i + 1
			return b[:searched+i], true, nil
		}
		if searched = len(b); err != nil || searched == readBuffer {
			s.r += len(b)
			return b, false, err
		}
	}
}

// terminalLine removes the carriage return, and the times in front of the further pieces of a long line.
func (s *logStream) terminalLine(b []byte) []byte {
	for i := chunkSize; i < len(b); i += chunkSize {
		if _, rest, ok := s.stamp.cut(b[i:]); ok {
			b = append(b[:i], rest...)
		}
	}
	b = bytes.TrimSuffix(b, []byte{'\r'})
	return b[:min(len(b), maxLine)]
}

// stampReader reads the time in front of a line. Lines that come in a flood are of the same second, which it remembers.
type stampReader struct {
	second [secondWidth]byte // 2006-01-02T15:04:05 as the last line had it
	unix   int64             // in nanoseconds
}

// cut separates the time in front of a log line from the line. It does not allocate for the form that the engine writes,
// 2006-01-02T15:04:05.000000000Z and a space; local offsets, which some log drivers give, go through time.Parse.
func (r *stampReader) cut(b []byte) (at int64, rest []byte, ok bool) {
	if len(b) <= stampWidth || b[stampWidth] != ' ' || b[stampWidth-1] != 'Z' || b[secondWidth] != '.' || b[4] != '-' {
		return cutOddStamp(b)
	}
	if string(b[:secondWidth]) != string(r.second[:]) && !r.remember(b) {
		return 0, b, false
	}
	var nano int64
	for _, c := range b[secondWidth+1 : stampWidth-1] {
		if c -= '0'; c > 9 {
			return 0, b, false
		}
		nano = 10*nano + int64(c)
	}
	return r.unix + nano, b[stampWidth+1:], true
}

// remember reads the second that b begins with, and reports whether it is one.
func (r *stampReader) remember(b []byte) bool {
	if b[7] != '-' || b[10] != 'T' || b[13] != ':' || b[16] != ':' {
		return false
	}
	var bad int
	num := func(i, j int) (n int) {
		for ; i < j; i++ {
			d := int(b[i]) - '0'
			if d < 0 || d > 9 {
				bad++
			}
			n = 10*n + d
		}
		return n
	}
	year, month, day := num(0, 4), num(5, 7), num(8, 10)
	hour, minute, second := num(11, 13), num(14, 16), num(17, 19)
	if bad > 0 || month < 1 || month > 12 || day < 1 || day > 31 || hour > 23 || minute > 59 || second > 60 {
		return false
	}
	copy(r.second[:], b)
	r.unix = time.Date(year, time.Month(month), day, hour, minute, second, 0, time.UTC).UnixNano()
	return true
}

func cutOddStamp(b []byte) (at int64, rest []byte, ok bool) {
	const longest = len("2006-01-02T15:04:05.000000000+07:00")
	i := bytes.IndexByte(b[:min(len(b), longest+1)], ' ')
	if i < len("2006-01-02T15:04:05Z") {
		return 0, b, false
	}
	t, err := time.Parse(time.RFC3339Nano, string(b[:i]))
	if err != nil {
		return 0, b, false
	}
	return t.UnixNano(), b[i+1:], true
}

// clean turns the end of a stream at the right place into nil.
func clean(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// unexpected turns the end of a stream at the wrong place into an error.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
