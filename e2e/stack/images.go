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

// image is made of static programs only, without base image, builder or registry.
type image struct {
	name string
	// files maps a path in the image to a program in .cache/bin or .cache/images.
	files map[string]string
	// texts maps a path in the image to the content of a small file.
	texts map[string]string
	// dirs are folders that the image's user can write.
	dirs map[string]owner
	// changes are Dockerfile instructions for `docker import`.
	changes []string
}

type owner struct{ uid, gid, mode int }

// nobody is the user of our images, as in compose/Dockerfile.
const (
	nobody = 65534
	passwd = "root:x:0:0:root:/:/sbin/nologin\nnobody:x:65534:65534:nobody:/:/sbin/nologin\n"
)

// volumes are the mount points of volumes in compose/Dockerfile.
var volumes = map[string]owner{
	"/var/lib/ghostrunner": {nobody, nobody, 0o755}, "/run/docker": {nobody, nobody, 0o755}, "/run/github": {nobody, nobody, 0o755},
	"/run/ghostrunner": {nobody, nobody, 0o755}, "/run/grafana": {nobody, nobody, 0o755},
}

// Build builds all programs of the images, and Compose. It needs the network for Go modules but no
// Docker, for stacks that start where there is no network.
func (s *Stack) Build(ctx context.Context) error {
	if err := s.programs(ctx); err != nil {
		return err
	}
	for _, name := range []string{"wget", "grafana", "victim"} {
		if _, err := s.standin(ctx, name); err != nil {
			return err
		}
	}
	for _, name := range []string{"prometheus", "alertmanager"} {
		if _, err := s.tool(ctx, name); err != nil {
			return err
		}
	}
	_, err := s.composeCommand(ctx)
	return err
}

func (s *Stack) programs(ctx context.Context) error {
	if s.opts.Built {
		return nil
	}
	for _, program := range append([]string{"runner", "lab"}, Programs...) {
		if err := s.program(ctx, program); err != nil {
			return err
		}
	}
	return nil
}

// images creates or finds every image and returns the Compose variables that name them.
func (s *Stack) images(ctx context.Context) (map[string]string, error) {
	if err := s.programs(ctx); err != nil {
		return nil, err
	}
	images := map[string]image{
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
	}
	for _, program := range Programs { // as in compose/Dockerfile
		images[strings.ToUpper(program)+"_IMAGE"] = image{
			name:    program,
			files:   map[string]string{"/ghostrunner": s.programPath(program)},
			texts:   map[string]string{"/etc/passwd": passwd},
			dirs:    volumes,
			changes: []string{"USER nobody", `ENTRYPOINT ["/ghostrunner"]`},
		}
	}
	env := map[string]string{}
	for variable, img := range images {
		ref, err := s.importImage(ctx, img)
		if err != nil {
			return nil, err
		}
		env[variable] = ref
	}
	env["MONGO_IMAGE"] = env["LAB_IMAGE"]

	for variable, server := range map[string]server{
		"PROMETHEUS_IMAGE":   {"prometheus", "prom/prometheus:v3.16.0", nobody, "/prometheus"},
		"ALERTMANAGER_IMAGE": {"alertmanager", "prom/alertmanager:v0.34.2", nobody, "/alertmanager"},
		"GRAFANA_IMAGE":      {"grafana", "grafana/grafana:13.2.3", 472, "/var/lib/grafana"},
	} {
		ref, err := s.serverImage(ctx, server)
		if err != nil {
			return nil, err
		}
		env[variable] = ref
	}
	return env, nil
}

// server is a program that others publish as an image.
type server struct {
	name, upstream string
	user           int
	data           string // folder of its volume
}

// serverImage is the published image if it is present or a registry answers, otherwise one with the
// server built from its Go module. Grafana is not such a module; e2e/testdata/grafana replaces it.
func (s *Stack) serverImage(ctx context.Context, srv server) (string, error) {
	if _, err := docker(ctx, "image", "inspect", srv.upstream); err == nil {
		return srv.upstream, nil
	}
	if _, err := os.Stat(filepath.Join(s.root, ".cache", "bin", srv.name)); err != nil && s.registryAnswers(ctx, srv.upstream) {
		s.progress("pulling %s", srv.upstream)
		pull, cancel := context.WithTimeout(ctx, 5*time.Minute)
		defer cancel()
		if _, err := docker(pull, "pull", "--quiet", srv.upstream); err == nil {
			return srv.upstream, nil
		}
	}
	build := s.tool
	if srv.name == "grafana" {
		build = s.standin
	}
	path, err := build(ctx, srv.name)
	if err != nil {
		return "", err
	}
	wget, err := s.standin(ctx, "wget") // for the health checks
	if err != nil {
		return "", err
	}
	return s.importImage(ctx, image{
		name:    srv.name,
		files:   map[string]string{"/bin/" + srv.name: path, "/bin/wget": wget},
		dirs:    map[string]owner{srv.data: {srv.user, srv.user, 0o755}, "/tmp": {0, 0, 0o1777}},
		changes: []string{fmt.Sprintf("USER %d:%d", srv.user, srv.user), "WORKDIR " + srv.data, `ENTRYPOINT ["/bin/` + srv.name + `"]`},
	})
}

// registryAnswers asks for a manifest, which is small.
func (s *Stack) registryAnswers(ctx context.Context, ref string) bool {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	_, err := docker(ctx, "manifest", "inspect", ref)
	return err == nil
}

// program builds one of our programs.
func (s *Stack) program(ctx context.Context, name string) error {
	s.progress("building ghostrunner-%s", name)
	return s.goBuild(ctx, "./cmd/"+name, s.programPath(name))
}

// standin builds a program of e2e/testdata and returns its path.
func (s *Stack) standin(ctx context.Context, name string) (string, error) {
	path := s.programPath(name)
	return path, s.goBuild(ctx, "./e2e/testdata/"+name, path)
}

func (s *Stack) goBuild(ctx context.Context, pkg, path string) error {
	if s.opts.Built {
		return nil
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", path, pkg)
	cmd.Dir = s.root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build %s: %w\n%s", pkg, err, out)
	}
	return nil
}

func (s *Stack) programPath(name string) string {
	return filepath.Join(s.root, ".cache", "images", "ghostrunner-"+name)
}

// importImage creates the image unless one with the same content exists, and removes older ones.
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
			_, _ = docker(ctx, "rmi", other) // in use; a later start removes it
		}
	}
	return ref, nil
}

// importTar creates an image from a file tree; an empty ref leaves it dangling.
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

// tar packs the image's tree. The same programs give the same bytes.
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

// tarContent returns the content of the archive's first file.
func tarContent(archive string) (string, error) {
	r := tar.NewReader(strings.NewReader(archive))
	if _, err := r.Next(); err != nil {
		return "", err
	}
	text, err := io.ReadAll(r)
	return strings.TrimSpace(string(text)), err
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
