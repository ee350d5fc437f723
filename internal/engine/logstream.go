package engine

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
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

	frameHeader = 8
	stampWidth  = len("2006-01-02T15:04:05.000000000Z")
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
type logStream struct {
	r     *bufio.Reader
	parts [2]partial // stdout (or the terminal) and stderr
	// line is called for each line, without its end. The bytes are valid during the call only.
	line func(at int64, line []byte)
}

func newLogStream(r io.Reader, line func(int64, []byte)) *logStream {
	return &logStream{r: bufio.NewReaderSize(r, readBuffer), line: line}
}

// read hands out lines until the stream ends; nil at a clean end.
func (s *logStream) read() error {
	head, err := s.r.Peek(1)
	if len(head) == 0 {
		return clean(err)
	}
	if head[0] > 3 {
		return s.readTerminal()
	}
	for {
		if err := s.readFrame(); err != nil {
			return clean(err)
		}
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
	head, err := s.r.Peek(frameHeader)
	if err != nil {
		if len(head) > 0 && errors.Is(err, io.EOF) {
			return io.ErrUnexpectedEOF
		}
		return err
	}
	kind, size := head[0], int(binary.BigEndian.Uint32(head[4:]))
	if head[1]|head[2]|head[3] != 0 || kind > 3 || size > maxFrame {
		return fmt.Errorf("%w: frame header % x", errFrame, head)
	}
	_, _ = s.r.Discard(frameHeader) // just peeked
	if kind == 3 {
		return s.engineError(size)
	}
	p := &s.parts[0]
	if kind == 2 {
		p = &s.parts[1]
	}
	for first := true; size > 0; first = false {
		b, err := s.r.Peek(min(size, readBuffer))
		if err != nil {
			return unexpected(err)
		}
		s.payload(p, b, first)
		size -= len(b)
		_, _ = s.r.Discard(len(b)) // just peeked
	}
	return nil
}

// payload takes a frame's content, or the next piece of it. Only the begin of a frame bears a time.
func (s *logStream) payload(p *partial, b []byte, first bool) {
	at := p.at
	if first {
		if t, rest, ok := cutStamp(b); ok {
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
	text := make([]byte, min(size, most))
	if _, err := io.ReadFull(s.r, text); err != nil {
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
		b, err := s.r.ReadSlice('\n')
		whole := err == nil
		if whole {
			b = b[:len(b)-1]
		}
		if !p.open {
			t, rest, ok := cutStamp(b)
			if ok {
				p.at, b = t, rest
			}
			if whole {
				s.line(p.at, terminalLine(b))
				continue
			}
		}
		if len(b) > 0 {
			p.append(b, limit)
		}
		switch {
		case whole:
			s.line(p.at, terminalLine(p.buf))
			p.reset()
		case !errors.Is(err, bufio.ErrBufferFull):
			return clean(err)
		}
	}
}

// terminalLine removes the carriage return, and the times in front of the further pieces of a long line.
func terminalLine(b []byte) []byte {
	for i := chunkSize; i < len(b); i += chunkSize {
		if _, rest, ok := cutStamp(b[i:]); ok {
			b = append(b[:i], rest...)
		}
	}
	b = bytes.TrimSuffix(b, []byte{'\r'})
	return b[:min(len(b), maxLine)]
}

// cutStamp separates the time in front of a log line from the line. It does not allocate for the form that the engine
// writes, 2006-01-02T15:04:05.000000000Z and a space; local offsets, which some log drivers give, go through time.Parse.
func cutStamp(b []byte) (at int64, rest []byte, ok bool) {
	if len(b) <= stampWidth || b[stampWidth] != ' ' || b[stampWidth-1] != 'Z' {
		return cutOddStamp(b)
	}
	if b[4] != '-' || b[7] != '-' || b[10] != 'T' || b[13] != ':' || b[16] != ':' || b[19] != '.' {
		return 0, b, false
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
	hour, minute, second, nano := num(11, 13), num(14, 16), num(17, 19), num(20, 29)
	if bad > 0 || month < 1 || month > 12 || day < 1 || day > 31 || hour > 23 || minute > 59 || second > 60 {
		return 0, b, false
	}
	return time.Date(year, time.Month(month), day, hour, minute, second, nano, time.UTC).UnixNano(), b[stampWidth+1:], true
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
