// Package upgrade_test upgrades a stack of an earlier version, as people do:
//
//	git pull && docker compose up -d --build --remove-orphans
//
// The old stack is recorded in testdata: its services and volumes, and a journal that its
// remediator wrote. Its programs are not needed, so that the test does not depend on the history of
// a clone.
package upgrade_test

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/blueguy23/ghostrunner/e2e/stack"
)

const (
	project = "ghostrunner-upgrade"
	nobody  = 65534

	oldToken    = "OLDWEBHOOKTOKENOLDWEBHOOKTOKENOLDWEBHOOKTOKENOLDWEBH"
	oldPassword = "OLDPASSWORDOLDPASSWORDOLDPASSWORDOLDPASSWORDOLDPASSW"
)

// orphans are the services of the old stack that the new one does not have.
var orphans = []string{"REPO_OWNER", "REPO_NAME", "DOCKER_GID", "GITHUB_PAT", "webhook-token", "grafana-password"}

// file is a file in a volume, with its owner and mode. Its folder has the same owner.
type file struct {
	service, path string // of a container that mounts the volume
	uid           int
	mode          int64
	content       []byte
}

func TestUpgradeLosesNothing(t *testing.T) {
	s, err := stack.New(stack.Options{Project: project, FirstPort: 23068, Out: os.Stdout})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Minute)
	defer cancel()
	down(t, s)
	t.Cleanup(func() {
		if t.Failed() {
			s.Diagnose(context.WithoutCancel(ctx), os.Stderr)
		}
		down(t, s)
	})
	if err := s.Prepare(ctx); err != nil {
		t.Fatal(err)
	}
	kept := []file{
		{"GITHUB_PAT", "/run/github/pat", nobody, 0o400, []byte(stack.Token + "\n")},
		{"webhook-token", "/run/ghostrunner/webhook-token", 0, 0o444, []byte(oldToken + "\n")},
		{"grafana-password", "/run/ghostrunner/grafana-password", 0, 0o444, []byte(oldPassword + "\n")},
		{"prometheus", "/prometheus/kept", nobody, 0o644, []byte("prometheus\n")},
		{"alertmanager", "/alertmanager/kept", nobody, 0o644, []byte("alertmanager\n")},
		{"runner-1", "/var/cache/ghostrunner/pnpm/kept", 1001, 0o644, []byte("pnpm\n")},
	}
	startOld(ctx, t, s, append(kept, file{"remediator", "/var/lib/ghostrunner/journal.db", nobody, 0o600, oldJournal(t)}))

	if err := s.Compose(ctx, nil, "up", "--detach", "--no-build", "--pull=never", "--remove-orphans"); err != nil {
		t.Fatal(err)
	}
	for _, service := range orphans {
		if name, err := s.ServiceContainer(ctx, service); err == nil {
			t.Errorf("%s is left of the old stack", name)
		}
	}
	// Where the new stack mounts what the old pseudo-services wrote.
	kept[0].service, kept[1].service, kept[2].service = "exporter", "alertmanager", "grafana"
	for _, want := range kept {
		got := read(ctx, t, s, want.service, want.path)
		if !bytes.Equal(got.content, want.content) || got.uid != want.uid || got.mode != want.mode {
			t.Errorf("%s: owner %d, mode %o, %q; before: owner %d, mode %o, %q", want.path, got.uid, got.mode, got.content, want.uid, want.mode, want.content)
		}
	}
	history(ctx, t, s)
	// The old token still connects Alertmanager to the remediator, and the old password opens
	// Grafana.
	await(ctx, t, "a heartbeat", func(ctx context.Context) (bool, error) {
		at, _, err := s.Metric(ctx, s.Ports.Remediator, "ghostrunner_remediator_heartbeat_timestamp_seconds", nil)
		return at > 0, err
	})
	await(ctx, t, "Grafana to accept the old password", func(ctx context.Context) (bool, error) {
		req := &http.Request{Header: http.Header{}}
		req.SetBasicAuth("admin", oldPassword)
		status, _, err := s.Do(ctx, http.MethodGet, s.Ports.Grafana, "/api/search", req.Header, nil)
		return status == http.StatusOK, err
	})
}

// history wants the recorded attempts, the breaker and the watchdog's fires.
func history(ctx context.Context, t *testing.T, s *stack.Stack) {
	t.Helper()
	await(ctx, t, "the journal to be open", func(ctx context.Context) (bool, error) {
		up, _, err := s.Metric(ctx, s.Ports.Remediator, "ghostrunner_remediator_journal_up", nil)
		return up == 1, err
	})
	header := http.Header{"Authorization": {"Bearer " + oldToken}}
	get := func(path string, into any) {
		t.Helper()
		status, body, err := s.Do(ctx, http.MethodGet, s.Ports.Remediator, path, header, nil)
		if err == nil && status != http.StatusOK {
			err = errors.New(string(body))
		}
		if err == nil {
			err = json.Unmarshal(body, into)
		}
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
	}
	var attempts []struct {
		ID                      uint64
		Action, Target, Outcome string
		Alert                   struct{ Labels map[string]string }
	}
	get("/api/v1/attempts?limit=100", &attempts)
	found := map[string]string{}
	for _, a := range attempts {
		if a.ID <= 2 {
			found[a.Action+" "+a.Target+" "+a.Outcome] = a.Alert.Labels["alertname"]
		}
	}
	if found["restart ci-runner-2 completed"] != "GhostrunnerRunnerRetryLoop" || found["backoff ci-runner-1 completed"] != "GhostrunnerWatchdogStorm" {
		t.Errorf("the history of the old journal is %v, in %v", found, attempts)
	}
	var breakers []struct{ Runner, State string }
	get("/api/v1/breakers", &breakers)
	// Compose has replaced the runner's container, which was stopped, and so started it: that is
	// probation.
	if !slices.ContainsFunc(breakers, func(b struct{ Runner, State string }) bool {
		return b.Runner == "ci-runner-1" && (b.State == "open" || b.State == "half_open")
	}) {
		t.Errorf("the breaker of ci-runner-1 was open, and now there are %v", breakers)
	}
	if fires, _, err := s.Metric(ctx, s.Ports.Remediator, "ghostrunner_watchdog_fires_total", map[string]string{"runner": "ci-runner-2"}); fires < 1 {
		t.Errorf("%v watchdog fires of ci-runner-2, before 1 (%v)", fires, err)
	}
}

// startOld creates the containers and volumes of the old stack, and fills the volumes.
func startOld(ctx context.Context, t *testing.T, s *stack.Stack, files []file) {
	t.Helper()
	const image = "ghostrunner-demo/old:latest"
	var empty bytes.Buffer
	if err := tar.NewWriter(&empty).Close(); err != nil {
		t.Fatal(err)
	}
	run(ctx, t, &empty, nil, "docker", "import", "--change", `CMD ["/none"]`, "-", image)
	t.Cleanup(func() { _, _ = s.Docker(context.WithoutCancel(ctx), "rmi", image) })
	compose, err := s.Plugin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	run(ctx, t, nil, []string{"OLD_IMAGE=" + image, "CONTAINER_PREFIX=" + project + "-"}, compose, "--project-name", project,
		"--file", "testdata/compose.yaml", "--env-file", os.DevNull, "up", "--no-start", "--pull=never")
	for _, f := range files {
		container, err := s.ServiceContainer(ctx, f.service)
		if err != nil {
			t.Fatal(err)
		}
		var archive bytes.Buffer
		w := tar.NewWriter(&archive)
		folder := tar.Header{Typeflag: tar.TypeDir, Name: filepath.Base(filepath.Dir(f.path)) + "/", Mode: 0o755, Uid: f.uid, Gid: f.uid}
		content := tar.Header{Typeflag: tar.TypeReg, Name: folder.Name + filepath.Base(f.path), Mode: f.mode, Uid: f.uid, Gid: f.uid, Size: int64(len(f.content))}
		errs := []error{w.WriteHeader(&folder), w.WriteHeader(&content)}
		_, err = w.Write(f.content)
		if err := errors.Join(append(errs, err, w.Close())...); err != nil {
			t.Fatal(err)
		}
		run(ctx, t, &archive, nil, "docker", "cp", "--archive", "-", container+":"+filepath.Dir(filepath.Dir(f.path)))
	}
}

// read returns a file of a container, running or not.
func read(ctx context.Context, t *testing.T, s *stack.Stack, service, path string) file {
	t.Helper()
	container, err := s.ServiceContainer(ctx, service)
	if err != nil {
		t.Fatal(err)
	}
	archive := tar.NewReader(strings.NewReader(run(ctx, t, nil, nil, "docker", "cp", container+":"+path, "-")))
	header, err := archive.Next()
	if err != nil {
		t.Fatalf("%s of %s: %v", path, service, err)
	}
	content, err := io.ReadAll(archive)
	if err != nil {
		t.Fatal(err)
	}
	return file{service, path, header.Uid, header.Mode & 0o777, content}
}

var timestamp = regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z`)

// oldJournal is the recorded journal, with its times shifted to now. In testdata the keys of
// records are hexadecimal; a value that is not JSON begins with "hex:" or "text:".
func oldJournal(t *testing.T) []byte {
	t.Helper()
	text, err := os.ReadFile("testdata/journal.json")
	if err != nil {
		t.Fatal(err)
	}
	recorded := time.Date(2026, 11, 30, 13, 46, 50, 0, time.UTC)
	shift := time.Since(recorded).Round(time.Second)
	text = timestamp.ReplaceAllFunc(text, func(old []byte) []byte {
		at, err := time.Parse(time.RFC3339Nano, string(old))
		if err != nil {
			t.Fatal(err)
		}
		return []byte(at.Add(shift).Format(time.RFC3339Nano))
	})
	var buckets map[string]map[string]json.RawMessage
	if err := json.Unmarshal(text, &buckets); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "journal.db")
	db, err := bolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bolt.Tx) error {
		for name, entries := range buckets {
			bucket, err := tx.CreateBucket([]byte(name))
			if err != nil {
				return err
			}
			for key, value := range entries {
				if err := bucket.Put(rawKey(t, name, key), rawValue(t, value)); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	journal, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return journal
}

func rawKey(t *testing.T, bucket, key string) []byte {
	t.Helper()
	if bucket != "records" {
		return []byte(key)
	}
	id, err := strconv.ParseUint(key, 16, 64)
	if err != nil {
		t.Fatal(err)
	}
	return binary.BigEndian.AppendUint64(nil, id)
}

func rawValue(t *testing.T, value json.RawMessage) []byte {
	t.Helper()
	var text string
	if json.Unmarshal(value, &text) != nil {
		var compact bytes.Buffer
		if err := json.Compact(&compact, value); err != nil {
			t.Fatal(err)
		}
		return compact.Bytes()
	}
	if plain, ok := strings.CutPrefix(text, "text:"); ok {
		return []byte(plain)
	}
	raw, err := hex.DecodeString(strings.TrimPrefix(text, "hex:"))
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// run runs a program and returns its standard output.
func run(ctx context.Context, t *testing.T, stdin io.Reader, env []string, name string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdin, cmd.Env = stdin, append(os.Environ(), env...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, &stderr)
	}
	return string(out)
}

func await(ctx context.Context, t *testing.T, what string, condition func(context.Context) (bool, error)) {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	if err := stack.Await(ctx, what, condition); err != nil {
		t.Fatal(err)
	}
}

func down(t *testing.T, s *stack.Stack) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 3*time.Minute)
	defer cancel()
	if err := s.Down(ctx); err != nil {
		t.Error(err)
	}
}
