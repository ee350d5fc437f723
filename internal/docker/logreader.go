package docker

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"time"

	"github.com/docker/docker/pkg/stdcopy"
)

// maxLine is the most of a line that is delivered; the rest is discarded. The engine cuts longer
// lines there into several messages (moby daemon/logger/copier.go, defaultBufSize).
const maxLine = 16 << 10

// readLog splits the answer to a logs request into messages, each of which begins with a time.
// Without a terminal it is a row of frames, with one it is bare text, which the first byte tells
// apart: an inspect, which would, also shows secrets.
func readLog(body io.Reader, stdout, stderr io.Writer) error {
	var first [1]byte
	if _, err := io.ReadFull(body, first[:]); err != nil {
		return endOfLog(err)
	}
	body = io.MultiReader(bytes.NewReader(first[:]), body)
	if first[0] <= byte(stdcopy.Systemerr) {
		_, err := stdcopy.StdCopy(stdout, stderr, body)
		return err
	}
	lines := bufio.NewReaderSize(body, 2*maxLine)
	for {
		piece, err := lines.ReadSlice('\n')
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return endOfLog(err)
		}
		if _, err := stdout.Write(piece); err != nil {
			return err
		}
	}
}

func endOfLog(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// lineReader takes the messages of one stream of a log, which is stdout, stderr or a terminal, and
// delivers each line once.
type lineReader struct {
	deliver func(at time.Time, line []byte)

	last    time.Time // of the last line delivered
	partial bool      // the end of a line that was too long has not come
}

// Write takes one message: a time, a space, and a line or a piece of one.
func (r *lineReader) Write(message []byte) (int, error) {
	text, whole := bytes.CutSuffix(message, []byte("\n"))
	continued := r.partial
	if r.partial = !whole; continued {
		return len(message), nil
	}
	var at time.Time
	stamp, line, _ := bytes.Cut(text, []byte(" "))
	if at.UnmarshalText(stamp) != nil {
		at, line = r.last, text
	}
	if !r.repeated(at) {
		r.last = at
		line = line[:min(len(line), maxLine)]
		r.deliver(at, bytes.TrimSuffix(line, []byte("\r"))) // of a terminal
	}
	return len(message), nil
}

// repeated reports whether a line of that time was delivered before. The lines of one stream are in
// the order of their times; those that are not come again, because the stream was opened again, or
// because the engine reads a part of a rotated file twice (20.10). After the clock was set back an
// earlier line is new: then the last one lies in the future.
//
// A line with the same nanosecond as the one before it is lost, which does no harm.
func (r *lineReader) repeated(at time.Time) bool {
	return !at.After(r.last) && !r.last.After(time.Now())
}
