package stack

import (
	"archive/tar"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
)

const (
	// headroom is the free space that the machine may lose for other reasons, between the start of the stack and the disk
	// fault, without spoiling it.
	headroom = 1_000_000_000
	// shortage is how far the ballast pushes the free space below the threshold.
	shortage = 300_000_000
	// ballastImages is how many images the ballast is spread over: pruning must find them all.
	ballastImages = 4
)

// chooseThreshold puts the prune threshold a little below the space that is free now.
func (s *Stack) chooseThreshold() error {
	free, err := freeBytes()
	if err != nil {
		return err
	}
	if free < 3*headroom {
		return fmt.Errorf("the disk fault needs %d MB of free disk, there are %d MB", 3*headroom/1_000_000, free/1_000_000)
	}
	s.threshold = free - headroom
	return nil
}

// AddBallast fills the disk with unused images until the free space is below the threshold. They carry the label of this
// stack's pruning; half of them are dangling.
func (s *Stack) AddBallast(ctx context.Context) error {
	free, err := freeBytes()
	if err != nil {
		return err
	}
	if free < s.threshold {
		return fmt.Errorf("the machine lost %d MB since the start: pruning the ballast cannot bring them back", (s.threshold+headroom-free)/1_000_000)
	}
	size := (free - s.threshold + shortage) / ballastImages
	for i := range ballastImages {
		ref := ""
		if i%2 == 1 {
			ref = fmt.Sprintf("ghostrunner-demo/ballast-%s:%d", s.opts.Project, i)
		}
		r, w := io.Pipe()
		go func() { w.CloseWithError(writeBallast(w, int64(size))) }()
		err := importTar(ctx, r, ref, "LABEL "+s.ballastLabel())
		_ = r.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

// RemoveBallast removes what pruning did not.
func (s *Stack) RemoveBallast(ctx context.Context) error {
	out, err := docker(ctx, "images", "--all", "--quiet", "--filter", "label="+s.ballastLabel())
	if err != nil || out == "" {
		return err
	}
	_, err = docker(ctx, append([]string{"rmi", "--force"}, strings.Fields(out)...)...)
	return err
}

func (s *Stack) ballastLabel() string { return "ghostrunner.demo=" + s.opts.Project }

// writeBallast writes a tar with one file whose bytes differ from every other image's, so that no layer is shared.
func writeBallast(w io.Writer, size int64) error {
	t := tar.NewWriter(w)
	if err := t.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "ballast", Mode: 0o644, Size: size}); err != nil {
		return err
	}
	block := make([]byte, 1<<20)
	_, _ = rand.Read(block) // never fails (crypto/rand)
	for size > 0 {
		n := min(size, int64(len(block)))
		if _, err := t.Write(block[:n]); err != nil {
			return err
		}
		size -= n
	}
	return t.Close()
}

// freeBytes is what an unprivileged user may still write below Docker's root, as the exporter reports it.
func freeBytes() (uint64, error) {
	path := "/var/lib/docker"
	if _, err := os.Stat(path); err != nil {
		path = "/" // Docker's root is elsewhere, or in a VM
	}
	var st syscall.Statfs_t
	if err := syscall.Statfs(path, &st); err != nil {
		return 0, fmt.Errorf("statfs %s: %w", path, err)
	}
	return st.Bavail * uint64(st.Bsize), nil
}
