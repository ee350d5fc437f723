package compose_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// release makes the tarball of a runner that is not one.
func release(t *testing.T, file string) []byte {
	t.Helper()
	var buf bytes.Buffer
	gz := gzip.NewWriter(&buf)
	w := tar.NewWriter(gz)
	// Somebody's uid: the official tarball was packed by user 1001, which is the jobs' user here.
	if err := w.WriteHeader(&tar.Header{Name: file, Mode: 0o755, Size: 2, Uid: 1001, Gid: 1001, Typeflag: tar.TypeReg}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte("#!")); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := gz.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// TestUnpackRunner runs unpack.sh against a simulated GitHub.
func TestUnpackRunner(t *testing.T) {
	for _, tool := range []string{"curl", "jq"} { // both are in the image
		if _, err := exec.LookPath(tool); err != nil {
			t.Fatalf("%s is missing: apt-get install curl jq", tool)
		}
	}
	const listener = "./bin/Runner.Listener"
	good := release(t, listener)
	digest := func(b []byte) string { s := sha256.Sum256(b); return hex.EncodeToString(s[:]) }
	pin := func(arch string, b []byte) string {
		return digest(b) + "  actions-runner-linux-" + arch + "-2.400.0.tar.gz\n"
	}
	asset := func(arch, digest string) string {
		return fmt.Sprintf(`{"assets":[{"name":"actions-runner-linux-%s-2.400.0.tar.gz","digest":%s}]}`, arch, digest)
	}
	for name, c := range map[string]struct {
		version, arch string
		sums          string // SHA256SUMS
		download      []byte // nil: 404
		api           string // empty: 404
		local         []byte // beside the script
		failure       string // empty: it works
	}{
		"pinned":                {arch: "amd64", sums: pin("arm64", nil) + pin("x64", good), download: good},
		"pinned, arm64":         {arch: "arm64", sums: pin("x64", nil) + pin("arm64", good), download: good},
		"not what was pinned":   {arch: "amd64", sums: pin("x64", nil), download: good, api: asset("x64", `"sha256:`+digest(good)+`"`), failure: "has SHA-256 " + digest(good)},
		"not pinned":            {arch: "amd64", sums: pin("arm64", good), download: good, api: asset("x64", `"sha256:`+digest(good)+`"`)},
		"not what GitHub said":  {arch: "amd64", download: good, api: asset("x64", `"sha256:`+digest(nil)+`"`), failure: "want " + digest(nil)},
		"GitHub states nothing": {arch: "amd64", download: good, api: asset("x64", "null"), failure: "add it to compose/runner/SHA256SUMS"},
		"another architecture":  {arch: "amd64", download: good, api: asset("arm64", `"sha256:`+digest(good)+`"`), failure: "add it to compose/runner/SHA256SUMS"},
		"no such version":       {arch: "amd64", download: good, failure: "does version 2.400.0 exist?"},
		"download fails":        {arch: "amd64", sums: pin("x64", good), failure: "does version 2.400.0 exist?"},
		"local tarball":         {arch: "amd64", local: good},
		"no runner in it":       {arch: "amd64", local: release(t, "./README"), failure: "this is not the Actions runner"},
		"unknown machine":       {arch: "riscv64", failure: "made for amd64 and arm64"},
		"version with a v":      {version: "v2.400.0", arch: "amd64", failure: "want a version such as"},
		"no version":            {version: " ", arch: "amd64", failure: "want a version such as"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				switch {
				case strings.HasPrefix(r.URL.Path, "/download/v2.400.0/actions-runner-linux-") && c.download != nil:
					_, _ = w.Write(c.download)
				case r.URL.Path == "/api/v2.400.0" && c.api != "":
					_, _ = w.Write([]byte(c.api))
				default:
					http.NotFound(w, r)
				}
			}))
			defer server.Close()
			script, err := os.ReadFile("runner/unpack.sh")
			if err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			files := map[string][]byte{"unpack.sh": script, "SHA256SUMS": []byte(c.sums)}
			if c.local != nil {
				files["actions-runner.tar.gz"] = c.local
			}
			for name, content := range files {
				if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			version := c.version
			if version == "" {
				version = "2.400.0"
			}
			into := filepath.Join(dir, "into")
			cmd := exec.CommandContext(t.Context(), "sh", filepath.Join(dir, "unpack.sh"), version, c.arch, into)
			cmd.Env = append(os.Environ(), "RUNNER_DOWNLOAD="+server.URL+"/download", "RUNNER_API="+server.URL+"/api", "no_proxy=127.0.0.1")
			out, err := cmd.CombinedOutput()
			if c.failure != "" {
				if err == nil || !strings.Contains(string(out), c.failure) {
					t.Errorf("want a failure that says %q, got %v:\n%s", c.failure, err, out)
				}
				return
			}
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			info, err := os.Stat(filepath.Join(into, listener))
			if err != nil || info.Mode().Perm()&0o111 == 0 {
				t.Errorf("%s is not there or not executable: %v", listener, err)
			}
		})
	}
}

// TestRunnerVersionsArePinned wants the default version of Dockerfile and Compose to be the same,
// and both of its tarballs to be pinned.
func TestRunnerVersionsArePinned(t *testing.T) {
	read := func(name string) string {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	_, rest, ok := strings.Cut(read("compose.yaml"), "RUNNER_VERSION: ${RUNNER_VERSION:-")
	version, _, _ := strings.Cut(rest, "}")
	if !ok || version == "" {
		t.Fatal("compose.yaml names no default RUNNER_VERSION")
	}
	if n := strings.Count(read("runner/Dockerfile"), "ARG RUNNER_VERSION="+version+"\n"); n != 2 {
		t.Errorf("runner/Dockerfile has another version than %s, which compose.yaml builds", version)
	}
	for _, arch := range []string{"x64", "arm64"} {
		if !strings.Contains(read("runner/SHA256SUMS"), "  actions-runner-linux-"+arch+"-"+version+".tar.gz\n") {
			t.Errorf("runner/SHA256SUMS does not pin %s for %s", version, arch)
		}
	}
}
