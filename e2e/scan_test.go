package e2e_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path"
	"slices"
	"strings"
	"testing"
)

// holdsOneProgram demands that an image is of no use to anybody who got in: one program, no shell, nothing that changes who
// runs it, and nothing that everybody may write.
func holdsOneProgram(ctx context.Context, t *testing.T, image string) {
	t.Helper()
	programs, faults := look(ctx, t, image)
	for _, fault := range faults {
		t.Errorf("%s: %s", image, fault)
	}
	if !slices.Equal(programs, []string{"/ghostrunner"}) {
		t.Errorf("%s: %v can be executed, want /ghostrunner alone", image, programs)
	}
}

// look scans all files of an image.
func look(ctx context.Context, t *testing.T, image string) (programs, faults []string) {
	t.Helper()
	container, err := output(ctx, "docker", "create", "--label", "com.docker.compose.project="+project, image)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if _, err := output(context.WithoutCancel(ctx), "docker", "rm", container); err != nil {
			t.Error(err)
		}
	}()
	export := exec.CommandContext(ctx, "docker", "export", container)
	files, err := export.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := export.Start(); err != nil {
		t.Fatal(err)
	}
	programs, faults, err = scan(files)
	_, drainErr := io.Copy(io.Discard, files) // what is behind the end of the archive
	if err := errors.Join(err, drainErr, export.Wait()); err != nil {
		t.Fatalf("%s: %v", image, err)
	}
	return programs, faults
}

// What finds no fault must be able to find one.
func TestScanFindsFaults(t *testing.T) {
	for _, test := range []struct {
		file tar.Header
		want string
	}{
		{tar.Header{Name: "good", Typeflag: tar.TypeReg, Mode: 0o644}, ""},
		{tar.Header{Name: "tmp", Typeflag: tar.TypeDir, Mode: 0o1777}, ""},
		{tar.Header{Name: "link", Typeflag: tar.TypeSymlink, Linkname: "good", Mode: 0o777}, ""},
		{tar.Header{Name: "open", Typeflag: tar.TypeReg, Mode: 0o646}, "everybody may write /open"},
		{tar.Header{Name: "dir/", Typeflag: tar.TypeDir, Mode: 0o777}, "everybody may write /dir"},
		{tar.Header{Name: "su", Typeflag: tar.TypeReg, Mode: 0o4755}, "/su changes who runs it"},
		{tar.Header{Name: "wall", Typeflag: tar.TypeReg, Mode: 0o2755}, "/wall changes who runs it"},
		{tar.Header{Name: "var/mail/", Typeflag: tar.TypeDir, Mode: 0o2775}, ""}, // hands its group on, to files
		{tar.Header{Name: "bin/sh", Typeflag: tar.TypeSymlink, Linkname: "dash", Mode: 0o777}, "/bin/sh is a shell"},
		{tar.Header{Name: "busybox", Typeflag: tar.TypeReg, Mode: 0o755}, "/busybox is a shell"},
		{tar.Header{Name: "sda", Typeflag: tar.TypeBlock, Mode: 0o600}, "/sda is a device"},
	} {
		var archive bytes.Buffer
		w := tar.NewWriter(&archive)
		if err := errors.Join(w.WriteHeader(&test.file), w.Close()); err != nil {
			t.Fatal(err)
		}
		_, faults, err := scan(&archive)
		if got := strings.Join(faults, "; "); err != nil || got != test.want {
			t.Errorf("%s: found %q, %v, want %q", test.file.Name, got, err, test.want)
		}
	}
}

// shells are the programs that would run what an intruder types.
var shells = []string{"ash", "bash", "busybox", "csh", "dash", "fish", "ksh", "mksh", "rbash", "sh", "tcsh", "toybox", "zsh"}

// scan reads the files of a container, and returns those that can be executed and what is wrong with any.
func scan(r io.Reader) (programs, faults []string, err error) {
	for files := tar.NewReader(r); ; {
		h, err := files.Next()
		if errors.Is(err, io.EOF) {
			return programs, faults, nil
		}
		if err != nil {
			return nil, nil, err
		}
		const sticky, setID = 0o1000, 0o6000
		name := path.Join("/", h.Name)
		link, dir := h.Typeflag == tar.TypeSymlink, h.Typeflag == tar.TypeDir
		fault := func(format string) { faults = append(faults, fmt.Sprintf(format, name)) }
		switch {
		case h.Typeflag == tar.TypeBlock || h.Typeflag == tar.TypeChar && name != "/dev/console":
			fault("%s is a device")
		case slices.Contains(shells, path.Base(name)) && !dir:
			fault("%s is a shell")
		case h.Mode&setID != 0 && !dir:
			fault("%s changes who runs it")
		case h.Mode&0o002 != 0 && !link && (!dir || h.Mode&sticky == 0):
			faults = append(faults, "everybody may write "+name)
		}
		if h.Typeflag == tar.TypeReg && h.Mode&0o111 != 0 && h.Size > 0 { // Docker's own places for what it mounts are empty
			programs = append(programs, name)
		}
	}
}
