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
	// headroom is the disk space that other programs may use, between the start of the stack and
	// the disk fault, without disturbing it.
	headroom = 1_000_000_000
	// shortage is how far the images push the free space below the threshold.
	shortage = 300_000_000
	// fillerImages is the number of images; a prune must find them all.
	fillerImages = 4
)

// chooseThreshold sets the prune threshold a little below the present free space, but to at most
// 40 % of the disk: the remediator refuses to prune until more than half of the disk is free, and
// the rules ask for 1.2 times the threshold.
func (s *Stack) chooseThreshold() error {
	free, size, err := diskSpace()
	if err != nil {
		return err
	}
	if free < 3*headroom {
		return fmt.Errorf("the disk fault needs %d MB of free disk, there are %d MB", 3*headroom/1_000_000, free/1_000_000)
	}
	s.threshold = min(free-headroom, size/5*2)
	return nil
}

// AddFillerImages creates unused images until the free space is below the threshold. They have the
// label that this stack may prune; half of them are dangling. If much more is free, a container
// first reserves the excess.
func (s *Stack) AddFillerImages(ctx context.Context) error {
	free, _, err := diskSpace()
	if err != nil {
		return err
	}
	if free < s.threshold {
		return fmt.Errorf("the machine lost %d MB since the start: pruning the filler images cannot free that much", (s.threshold+headroom-free)/1_000_000)
	}
	if free > s.threshold+2*headroom {
		image, err := s.VictimImage(ctx)
		if err != nil {
			return err
		}
		excess := free - s.threshold - headroom
		if _, err := s.StartVictim(ctx, image, "reserve", "--no-healthcheck", fmt.Sprintf("--env=VICTIM_RESERVES=%d", excess)); err != nil {
			return err
		}
		if err := Await(ctx, "the excess of the disk to be reserved", func(context.Context) (bool, error) {
			free, _, err = diskSpace()
			return free < s.threshold+2*headroom, err
		}); err != nil {
			return err
		}
	}
	size := (free - s.threshold + shortage) / fillerImages
	for i := range fillerImages {
		ref := ""
		if i%2 == 1 {
			ref = fmt.Sprintf("ghostrunner-demo/filler-%s:%d", s.opts.Project, i)
		}
		r, w := io.Pipe()
		go func() { w.CloseWithError(writeFiller(w, int64(size))) }()
		err := importTar(ctx, r, ref, "LABEL "+s.fillerLabel())
		_ = r.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

// RemoveFillerImages removes those that were not pruned.
func (s *Stack) RemoveFillerImages(ctx context.Context) error {
	out, err := docker(ctx, "images", "--all", "--quiet", "--filter", "label="+s.fillerLabel())
	if err != nil || out == "" {
		return err
	}
	_, err = docker(ctx, append([]string{"rmi", "--force"}, strings.Fields(out)...)...)
	return err
}

func (s *Stack) fillerLabel() string { return "ghostrunner.demo=" + s.opts.Project }

// writeFiller writes a tar of random bytes, so that images share no layer.
func writeFiller(w io.Writer, size int64) error {
	t := tar.NewWriter(w)
	if err := t.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "filler", Mode: 0o644, Size: size}); err != nil {
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

// diskSpace is what an unprivileged user can write below Docker's root, as the exporter reports it,
// and the size of that disk.
func diskSpace() (free, size uint64, err error) {
	path := "/var/lib/docker"
	if _, err := os.Stat(path); err != nil {
		path = "/" // Docker's root is elsewhere, or in a virtual machine
	}
	var st syscall.Statfs_t
	if err := syscall.Statfs(path, &st); err != nil {
		return 0, 0, fmt.Errorf("statfs %s: %w", path, err)
	}
	return st.Bavail * uint64(st.Bsize), st.Blocks * uint64(st.Bsize), nil
}
