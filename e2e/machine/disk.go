package machine

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// FillDisk reserves blocks until this much of Docker's disk is free. The returned function releases
// them.
func (e *Engine) FillDisk(leave int64) (empty func() error, err error) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(dockerRoot, &st); err != nil {
		return nil, err
	}
	take := int64(st.Bavail)*st.Bsize - leave
	if take <= 0 {
		return nil, fmt.Errorf("only %d bytes are free already", int64(st.Bavail)*st.Bsize)
	}
	f, err := os.CreateTemp(dockerRoot, "filler")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	// Block maps take space too, so the last blocks are reserved in smaller pieces.
	for have, piece := int64(0), take; have < take && piece >= st.Bsize; {
		switch err := syscall.Fallocate(int(f.Fd()), 0, have, piece); {
		case err == nil:
			have += piece
			piece = min(piece, take-have)
		case errors.Is(err, syscall.ENOSPC):
			piece /= 2
		default:
			_ = os.Remove(f.Name())
			return nil, fmt.Errorf("reserve %d bytes: %w", piece, err)
		}
	}
	return func() error { return os.Remove(f.Name()) }, nil
}
