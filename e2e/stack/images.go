package stack

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// image is one image made from static programs alone: no base image, no builder, no registry.
type image struct {
	name string
	// files maps a path in the image to a program in .cache/bin or .cache/images.
	files map[string]string
	// texts maps a path in the image to a small file's content.
	texts map[string]string
	// dirs are folders that the image's user may write.
	dirs map[string]owner
	// changes are Dockerfile instructions for `docker import`.
	changes []string
}

type owner struct{ uid, gid, mode int }

// nobody is the user of our own images, as in compose/Dockerfile.
const (
	nobody = 65534
	passwd = "root:x:0:0:root:/:/sbin/nologin\nnobody:x:65534:65534:nobody:/:/sbin/nologin\n"
)

// images makes or finds every image of the stack and returns the Compose variables that name them.
func (s *Stack) images(ctx context.Context) (map[string]string, error) {
	for _, program := range []string{"exporter", "remediator", "runner", "lab"} {
		if err := s.program(ctx, program); err != nil {
			return nil, err
		}
	}
	env := map[string]string{}
	for variable, img := range map[string]image{
		"EXPORTER_IMAGE": {
			name:    "exporter",
			files:   map[string]string{"/ghostrunner": s.programPath("exporter")},
			texts:   map[string]string{"/etc/passwd": passwd},
			dirs:    map[string]owner{"/var/lib/ghostrunner": {nobody, nobody, 0o700}},
			changes: []string{"USER nobody", `ENTRYPOINT ["/ghostrunner"]`},
		},
		"REMEDIATOR_IMAGE": {
			name:    "remediator",
			files:   map[string]string{"/ghostrunner": s.programPath("remediator")},
			texts:   map[string]string{"/etc/passwd": passwd},
			dirs:    map[string]owner{"/var/lib/ghostrunner": {nobody, nobody, 0o700}},
			changes: []string{"USER nobody", `ENTRYPOINT ["/ghostrunner"]`},
		},
		"LAB_IMAGE": {
			name:    "lab",
			files:   map[string]string{"/ghostrunner-lab": s.programPath("lab")},
			changes: []string{`ENTRYPOINT ["/ghostrunner-lab"]`},
		},
		"RUNNER_IMAGE": {
			name: "runner",
			files: map[string]string{
				"/usr/local/bin/ghostrunner-runner":   s.programPath("runner"),
				"/actions-runner/bin/Runner.Listener": s.programPath("lab"),
				"/actions-runner/bin/Runner.Worker":   s.programPath("lab"),
			},
			dirs: map[string]owner{
				"/tmp": {0, 0, 0o1777}, "/actions-runner": {0, 0, 0o1777}, "/actions-runner/bin": {0, 0, 0o755},
			},
			changes: []string{"WORKDIR /actions-runner", `ENTRYPOINT ["/usr/local/bin/ghostrunner-runner"]`, `CMD ["run"]`},
		},
	} {
		ref, err := s.importImage(ctx, img)
		if err != nil {
			return nil, err
		}
		env[variable] = ref
	}
	env["MONGO_IMAGE"] = env["LAB_IMAGE"]

	for variable, server := range map[string]struct{ name, upstream, data string }{
		"PROMETHEUS_IMAGE":   {"prometheus", "prom/prometheus:v3.16.0", "/prometheus"},
		"ALERTMANAGER_IMAGE": {"alertmanager", "prom/alertmanager:v0.34.2", "/alertmanager"},
	} {
		ref, err := s.serverImage(ctx, server.name, server.upstream, server.data)
		if err != nil {
			return nil, err
		}
		env[variable] = ref
	}
	return env, nil
}

// serverImage is the published image where a registry answers, else one around the server built from its Go module.
func (s *Stack) serverImage(ctx context.Context, name, upstream, data string) (string, error) {
	if _, err := docker(ctx, "image", "inspect", upstream); err == nil {
		return upstream, nil
	}
	if _, err := os.Stat(filepath.Join(s.root, ".cache", "bin", name)); err != nil && s.registryAnswers(ctx, upstream) {
		s.progress("pulling %s", upstream)
		pull, cancel := context.WithTimeout(ctx, 5*time.Minute)
		defer cancel()
		if _, err := docker(pull, "pull", "--quiet", upstream); err == nil {
			return upstream, nil
		}
	}
	path, err := s.tool(ctx, name)
	if err != nil {
		return "", err
	}
	return s.importImage(ctx, image{
		name:    name,
		files:   map[string]string{"/bin/" + name: path},
		dirs:    map[string]owner{data: {65534, 65534, 0o755}, "/tmp": {0, 0, 0o1777}},
		changes: []string{"USER 65534:65534", "WORKDIR " + data, `ENTRYPOINT ["/bin/` + name + `"]`},
	})
}

// registryAnswers asks for a manifest, which is small, before anything large is tried.
func (s *Stack) registryAnswers(ctx context.Context, ref string) bool {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	_, err := docker(ctx, "manifest", "inspect", ref)
	return err == nil
}

// program builds one of our programs statically.
func (s *Stack) program(ctx context.Context, name string) error {
	s.progress("building ghostrunner-%s", name)
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", s.programPath(name), "./cmd/"+name)
	cmd.Dir = s.root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build ./cmd/%s: %w\n%s", name, err, out)
	}
	return nil
}

func (s *Stack) programPath(name string) string {
	return filepath.Join(s.root, ".cache", "images", "ghostrunner-"+name)
}

// importImage makes the image unless one with the same content exists, and removes its forerunners.
func (s *Stack) importImage(ctx context.Context, img image) (string, error) {
	archive, err := img.tar()
	if err != nil {
		return "", fmt.Errorf("image %s: %w", img.name, err)
	}
	sum := sha256.New()
	sum.Write(archive)
	fmt.Fprint(sum, img.changes)
	repository := "ghostrunner-demo/" + img.name
	ref := repository + ":" + hex.EncodeToString(sum.Sum(nil))[:12]
	if _, err := docker(ctx, "image", "inspect", ref); err == nil {
		return ref, nil
	}
	s.progress("making image %s", ref)
	if err := importTar(ctx, bytes.NewReader(archive), ref, img.changes...); err != nil {
		return "", err
	}
	older, err := docker(ctx, "images", "--format", "{{.Repository}}:{{.Tag}}", repository)
	if err != nil {
		return "", err
	}
	for other := range strings.FieldsSeq(older) {
		if other != ref {
			_, _ = docker(ctx, "rmi", other) // still in use: a later start removes it
		}
	}
	return ref, nil
}

// importTar makes an image from a file tree; an empty ref leaves it dangling.
func importTar(ctx context.Context, archive io.Reader, ref string, changes ...string) error {
	args := []string{"import"}
	for _, change := range changes {
		args = append(args, "--change", change)
	}
	args = append(args, "-")
	if ref != "" {
		args = append(args, ref)
	}
	cmd := exec.CommandContext(ctx, "docker", args...)
	cmd.Stdin = archive
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("docker import %s: %w: %s", ref, err, bytes.TrimSpace(out))
	}
	return nil
}

// tar packs the image's tree; the same programs always give the same bytes.
func (img image) tar() ([]byte, error) {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	var errs []error
	for _, dir := range sortedKeys(img.dirs) {
		o := img.dirs[dir]
		errs = append(errs, w.WriteHeader(&tar.Header{
			Typeflag: tar.TypeDir, Name: strings.TrimPrefix(dir, "/") + "/", Mode: int64(o.mode), Uid: o.uid, Gid: o.gid,
		}))
	}
	file := func(path string, mode int64, content []byte) {
		errs = append(errs, w.WriteHeader(&tar.Header{
			Typeflag: tar.TypeReg, Name: strings.TrimPrefix(path, "/"), Mode: mode, Size: int64(len(content)),
		}))
		_, err := w.Write(content)
		errs = append(errs, err)
	}
	for _, path := range sortedKeys(img.texts) {
		file(path, 0o644, []byte(img.texts[path]))
	}
	for _, path := range sortedKeys(img.files) {
		content, err := os.ReadFile(img.files[path])
		if err != nil {
			return nil, err
		}
		file(path, 0o755, content)
	}
	errs = append(errs, w.Close())
	return buf.Bytes(), errors.Join(errs...)
}

// tarContent is the content of the archive's first file.
func tarContent(archive string) (string, error) {
	r := tar.NewReader(strings.NewReader(archive))
	if _, err := r.Next(); err != nil {
		return "", err
	}
	text, err := io.ReadAll(r)
	return strings.TrimSpace(string(text)), err
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
