package stack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// BaseImage returns a base image for Dockerfiles, which take its name as a build argument: the real
// one if it is present or a registry answers, otherwise a stand-in, under a name that cannot be
// confused with the real one.
func (s *Stack) BaseImage(ctx context.Context, name string) (string, error) {
	if _, err := docker(ctx, "image", "inspect", name); err == nil || s.registryAnswers(ctx, name) {
		return name, nil
	}
	var create func(context.Context, string) error
	switch name {
	case "debian:bookworm-slim":
		create = s.debian
	case "golang:1.26-bookworm":
		create = s.golang
	case "node:22-bookworm-slim":
		create = s.node
	case "docker:28-cli":
		create = s.dockerCLI
	default:
		return "", fmt.Errorf("no registry answers, and nothing can stand in for %s", name)
	}
	ref := "ghostrunner-standin/" + name
	if _, err := docker(ctx, "image", "inspect", ref); err == nil {
		return ref, nil
	}
	s.progress("making %s: no registry answers for the real one", ref)
	return ref, create(ctx, ref)
}

// debian is built by debootstrap, without the parts that the slim image omits.
func (s *Stack) debian(ctx context.Context, ref string) error {
	if _, err := exec.LookPath("debootstrap"); err != nil {
		return errors.New("no registry answers and debootstrap is missing: apt-get install debootstrap")
	}
	dir, err := os.MkdirTemp("", "debootstrap")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if _, err := command(ctx, dir, "debootstrap", "--variant=minbase", "--include=ca-certificates", "bookworm", dir); err != nil {
		return err
	}
	tar := exec.CommandContext(ctx, "tar", "--directory", dir, "--exclude=./usr/share/doc/*", "--exclude=./usr/share/man/*",
		"--exclude=./usr/share/locale/*", "--exclude=./var/lib/apt/lists/*", "--exclude=./var/cache/apt/*", "--exclude=./dev/*", "--create", ".")
	archive, err := tar.StdoutPipe()
	if err != nil {
		return err
	}
	if err := tar.Start(); err != nil {
		return err
	}
	return errors.Join(importTar(ctx, archive, ref, `CMD ["bash"]`), tar.Wait())
}

// golang is this machine's Go on Debian, with the certificates that this machine trusts.
func (s *Stack) golang(ctx context.Context, ref string) error {
	root, err := command(ctx, s.root, "go", "env", "GOROOT")
	if err != nil {
		return err
	}
	return s.buildStandin(ctx, ref, func(dir string) error {
		for _, part := range []string{"VERSION", "go.env", "bin", "pkg/tool", "pkg/include", "src"} {
			if err := copyTree(filepath.Join(root, part), filepath.Join(dir, "go", part)); err != nil {
				return err
			}
		}
		certificates, err := os.ReadFile("/etc/ssl/certs/ca-certificates.crt")
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(dir, "ca.crt"), certificates, 0o644)
	}, "COPY go /usr/local/go", "COPY ca.crt /etc/ssl/certs/ca-certificates.crt", "ENV PATH=/usr/local/go/bin:$PATH GOPATH=/go")
}

// node has the layout of the official image, with placeholder programs.
func (s *Stack) node(ctx context.Context, ref string) error {
	const program = "#!/bin/sh\n[ \"$1\" = --version ] && echo v22.0.0 || echo 'a stand-in for Node.js'\n"
	return s.buildStandin(ctx, ref, func(dir string) error {
		files := map[string]string{"bin/node": program}
		for _, js := range []string{
			"npm/bin/npm-cli", "npm/bin/npx-cli", "corepack/dist/corepack", "corepack/dist/pnpm", "corepack/dist/pnpx",
			"corepack/dist/yarn", "corepack/dist/yarnpkg",
		} {
			files["lib/node_modules/"+js+".js"] = "#!/usr/bin/env node\n"
		}
		for path, text := range files {
			path = filepath.Join(dir, "local", path)
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				return err
			}
			if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
				return err
			}
		}
		return nil
	}, "COPY local /usr/local")
}

// dockerCLI is this machine's docker with the pinned plugins, all static, in the paths of the
// official image.
func (s *Stack) dockerCLI(ctx context.Context, ref string) error {
	client, err := exec.LookPath("docker")
	if err != nil {
		return err
	}
	return s.buildStandin(ctx, ref, func(dir string) error {
		for name, plugin := range map[string]string{"docker-compose": "docker-compose", "docker-buildx": "docker-buildx"} {
			path, err := s.tool(ctx, plugin)
			if err != nil {
				return err
			}
			if err := copyTree(path, filepath.Join(dir, "plugins", name)); err != nil {
				return err
			}
		}
		return copyTree(client, filepath.Join(dir, "docker"))
	}, "COPY docker /usr/local/bin/docker", "COPY plugins /usr/local/libexec/docker/cli-plugins")
}

// buildStandin builds an image on Debian from a folder that fill fills.
func (s *Stack) buildStandin(ctx context.Context, ref string, fill func(dir string) error, instructions ...string) error {
	base, err := s.BaseImage(ctx, "debian:bookworm-slim")
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "standin")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if err := fill(dir); err != nil {
		return fmt.Errorf("stand-in %s: %w", ref, err)
	}
	text := "FROM " + base + "\n" + strings.Join(instructions, "\n") + "\n"
	if err := os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte(text), 0o644); err != nil {
		return err
	}
	return s.build(ctx, dir, "--tag", ref)
}

// build runs a build with BuildKit, which the Dockerfiles need.
func (s *Stack) build(ctx context.Context, dir string, args ...string) error {
	buildx, err := s.tool(ctx, "docker-buildx")
	if err != nil {
		return err
	}
	_, err = command(ctx, dir, buildx, append([]string{"build", "--progress=plain", "--load", dir}, args...)...)
	return err
}

// command runs a program and returns its trimmed standard output; its error has all output.
func command(ctx context.Context, dir, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	var out, both strings.Builder
	cmd.Stdout, cmd.Stderr = io.MultiWriter(&out, &both), &both
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s %s: %w\n%s", filepath.Base(name), args[0], err, both.String())
	}
	return strings.TrimSpace(out.String()), nil
}

// copyTree copies a file or a folder, without test files and testdata.
func copyTree(from, to string) error {
	return filepath.WalkDir(from, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, rel)
		switch {
		case entry.IsDir() && entry.Name() == "testdata":
			return filepath.SkipDir
		case entry.IsDir():
			return os.MkdirAll(target, 0o755)
		case strings.HasSuffix(path, "_test.go"):
			return nil
		}
		info, err := os.Stat(path) // the tools may be links
		if err != nil {
			return err
		}
		if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
			return err
		}
		source, err := os.Open(path)
		if err != nil {
			return err
		}
		defer func() { _ = source.Close() }()
		file, err := os.OpenFile(target, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, info.Mode().Perm())
		if err != nil {
			return err
		}
		_, err = io.Copy(file, source)
		return errors.Join(err, file.Close())
	})
}
