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

// holdsOneProgram requires an image that is useless to an intruder: one program, no shell, no
// setuid file, and no file that everyone can write.
func holdsOneProgram(ctx context.Context, t *testing.T, image string) {
	t.Helper()
	programs, problems := inspectFiles(ctx, t, image)
	for _, problem := range problems {
		t.Errorf("%s: %s", image, problem)
	}
	if !slices.Equal(programs, []string{"/ghostrunner"}) {
		t.Errorf("%s: %v can be executed, want /ghostrunner alone", image, programs)
	}
}

// inspectFiles lists the programs of an image and its problems.
func inspectFiles(ctx context.Context, t *testing.T, image string) (programs, problems []string) {
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
	programs, problems, err = scan(files)
	_, drainErr := io.Copy(io.Discard, files) // bytes after the end of the archive
	if err := errors.Join(err, drainErr, export.Wait()); err != nil {
		t.Fatalf("%s: %v", image, err)
	}
	return programs, problems
}

// The scan finds each kind of problem.
func TestScanFindsProblems(t *testing.T) {
	for _, test := range []struct {
		file tar.Header
		want string
	}{
		{tar.Header{Name: "good", Typeflag: tar.TypeReg, Mode: 0o644}, ""},
		{tar.Header{Name: "tmp", Typeflag: tar.TypeDir, Mode: 0o1777}, ""},
		{tar.Header{Name: "link", Typeflag: tar.TypeSymlink, Linkname: "good", Mode: 0o777}, ""},
		{tar.Header{Name: "open", Typeflag: tar.TypeReg, Mode: 0o646}, "everyone can write /open"},
		{tar.Header{Name: "dir/", Typeflag: tar.TypeDir, Mode: 0o777}, "everyone can write /dir"},
		{tar.Header{Name: "su", Typeflag: tar.TypeReg, Mode: 0o4755}, "/su is setuid or setgid"},
		{tar.Header{Name: "wall", Typeflag: tar.TypeReg, Mode: 0o2755}, "/wall is setuid or setgid"},
		{tar.Header{Name: "var/mail/", Typeflag: tar.TypeDir, Mode: 0o2775}, ""}, // a setgid folder passes its group on to files
		{tar.Header{Name: "bin/sh", Typeflag: tar.TypeSymlink, Linkname: "dash", Mode: 0o777}, "/bin/sh is a shell"},
		{tar.Header{Name: "busybox", Typeflag: tar.TypeReg, Mode: 0o755}, "/busybox is a shell"},
		{tar.Header{Name: "sda", Typeflag: tar.TypeBlock, Mode: 0o600}, "/sda is a device"},
	} {
		var archive bytes.Buffer
		w := tar.NewWriter(&archive)
		if err := errors.Join(w.WriteHeader(&test.file), w.Close()); err != nil {
			t.Fatal(err)
		}
		_, problems, err := scan(&archive)
		if got := strings.Join(problems, "; "); err != nil || got != test.want {
			t.Errorf("%s: found %q, %v, want %q", test.file.Name, got, err, test.want)
		}
	}
}

// shells are programs that run an intruder's input.
var shells = []string{"ash", "bash", "busybox", "csh", "dash", "fish", "ksh", "mksh", "rbash", "sh", "tcsh", "toybox", "zsh"}

// scan reads a container's files and returns the programs and the problems.
func scan(r io.Reader) (programs, problems []string, err error) {
	for files := tar.NewReader(r); ; {
		h, err := files.Next()
		if errors.Is(err, io.EOF) {
			return programs, problems, nil
		}
		if err != nil {
			return nil, nil, err
		}
		const sticky, setID = 0o1000, 0o6000
		name := path.Join("/", h.Name)
		link, dir := h.Typeflag == tar.TypeSymlink, h.Typeflag == tar.TypeDir
		problem := func(format string) { problems = append(problems, fmt.Sprintf(format, name)) }
		switch {
		case h.Typeflag == tar.TypeBlock || h.Typeflag == tar.TypeChar && name != "/dev/console":
			problem("%s is a device")
		case slices.Contains(shells, path.Base(name)) && !dir:
			problem("%s is a shell")
		case h.Mode&setID != 0 && !dir:
			problem("%s is setuid or setgid")
		case h.Mode&0o002 != 0 && !link && (!dir || h.Mode&sticky == 0):
			problems = append(problems, "everyone can write "+name)
		}
		if h.Typeflag == tar.TypeReg && h.Mode&0o111 != 0 && h.Size > 0 { // Docker's mount points are empty files
			programs = append(programs, name)
		}
	}
}
