package stack

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// RunnerVersion is the default version of the Dockerfile and of the simulated runner.
const RunnerVersion = "2.336.0"

// RunnerImage builds the shipped compose/runner/Dockerfile, with a tarball of the simulated
// listener and worker in place of the real release, and returns the image's name.
func (s *Stack) RunnerImage(ctx context.Context, version string) (string, error) {
	// Another repository than the other runner image, of which only the newest tag is kept.
	ref := "ghostrunner-demo/slot:" + version
	runner := s.programPath("lab-" + version)
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", runner,
		"-ldflags=-s -w -X github.com/blueguy23/ghostrunner/internal/lab.RunnerVersion="+version, "./cmd/lab")
	build.Dir, build.Env = s.root, append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build ./cmd/lab: %w\n%s", err, out)
	}
	args := []string{"--file", "compose/runner/Dockerfile", "--tag", ref, "--build-arg", "RUNNER_VERSION=" + version}
	for variable, name := range map[string]string{
		"BASE": "debian:bookworm-slim", "GO_IMAGE": "golang:1.26-bookworm", "NODE_IMAGE": "node:22-bookworm-slim", "DOCKER_IMAGE": "docker:28-cli",
	} {
		ref, err := s.BaseImage(ctx, name)
		if err != nil {
			return "", err
		}
		args = append(args, "--build-arg", variable+"="+ref)
	}
	// A separate build context, because the real one may contain a real tarball.
	dir, err := os.MkdirTemp("", "runner-image")
	if err != nil {
		return "", err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	for _, part := range []string{"go.mod", "go.sum", ".dockerignore", "cmd", "internal", "compose/runner/Dockerfile", "compose/runner/unpack.sh", "compose/runner/SHA256SUMS"} {
		if err := copyTree(filepath.Join(s.root, part), filepath.Join(dir, part)); err != nil {
			return "", err
		}
	}
	if err := writeTarball(filepath.Join(dir, "compose/runner/actions-runner.tar.gz"), runner); err != nil {
		return "", err
	}
	s.progress("building the runner's image from its Dockerfile (the first time takes minutes)")
	return ref, s.build(ctx, dir, args...)
}

// writeTarball writes a stand-in for a release of the Actions runner: the lab's program under two
// names.
func writeTarball(path, lab string) error {
	program, err := os.ReadFile(lab)
	if err != nil {
		return err
	}
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	gz, _ := gzip.NewWriterLevel(file, gzip.BestSpeed)
	w := tar.NewWriter(gz)
	errs := []error{w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "./bin/Runner.Listener", Mode: 0o755, Size: int64(len(program))})}
	_, err = w.Write(program)
	errs = append(errs, err,
		w.WriteHeader(&tar.Header{Typeflag: tar.TypeLink, Name: "./bin/Runner.Worker", Linkname: "./bin/Runner.Listener", Mode: 0o755}))
	return errors.Join(append(errs, w.Close(), gz.Close(), file.Close())...)
}
