package remedy

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// statfsFree returns the bytes free to an unprivileged user below path.
func statfsFree(path string) (uint64, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(path, &s); err != nil {
		return 0, fmt.Errorf("statfs %s: %w", path, err)
	}
	return s.Bavail * uint64(s.Bsize), nil //nolint:gosec // a block size is positive
}
