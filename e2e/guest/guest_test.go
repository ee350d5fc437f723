package guest

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// mark is a file that the program writes outside of the shared folder.
const mark = "/etc/ghostrunner-guest-test"

// TestMain is also the guest's first process, and the program in it.
func TestMain(m *testing.M) {
	Boot()
	if Inside() {
		os.Exit(inside())
	}
	os.Exit(m.Run())
}

// inside moves the clock ahead and exits with 7 if it reached its end.
func inside() int {
	before, mono := time.Now().Round(0), time.Now()
	if err := StepClock(8 * time.Hour); err != nil {
		fmt.Println(err)
		return 1
	}
	step := time.Now().Round(0).Sub(before) - time.Since(mono)
	fmt.Println("args", os.Args[1:], "env", os.Getenv("GUEST_TEST"), "step", step.Round(time.Minute))
	if err := os.WriteFile(mark, nil, 0o600); err != nil {
		fmt.Println(err)
		return 1
	}
	return 7
}

// A step of the guest's clock and a file written there do not change this machine.
func TestGuestDoesNotChangeHost(t *testing.T) {
	if why := Missing(); why != "" {
		if os.Getenv("CI") != "" {
			t.Fatal(why)
		}
		t.Skip(why)
	}
	dir, err := filepath.Abs(filepath.Join("..", "..", ".cache", "guest-test"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	wall, mono := time.Now().Round(0), time.Now()
	var out bytes.Buffer
	code, err := Run(t.Context(), Options{
		Dir: dir, DiskBytes: 1e9, MemoryBytes: 512 << 20, Args: []string{"one", "two words"}, Env: append(os.Environ(), "GUEST_TEST=here"), Out: &out,
	})
	if err != nil || code != 7 || !strings.Contains(out.String(), "args [one two words] env here step 8h0m0s\n") {
		t.Errorf("code %d, %v\n%s", code, err, out.String())
	}
	if step := time.Now().Round(0).Sub(wall) - time.Since(mono); step.Abs() > time.Minute {
		t.Errorf("this machine's own clock was set by %s", step)
	}
	if _, err := os.Stat(mark); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s was written here: %v", mark, err)
	}
}

// StepClock works only in a kernel that Run booted.
func TestClockIsSetOnlyInGuest(t *testing.T) {
	for line, want := range map[string]bool{
		"": false, "root=/dev/sda1 quiet": false, "init=/x GHOSTRUNNER_GUEST=/somewhere": true, "XGHOSTRUNNER_GUEST=1": false, "GHOSTRUNNER_GUEST": false,
	} {
		if isGuest(line) != want {
			t.Errorf("%q: %t", line, !want)
		}
	}
	if Inside() {
		t.Fatal("this is no guest")
	}
	if err := StepClock(0); err == nil || !strings.Contains(err.Error(), "refused") {
		t.Errorf("%v", err)
	}
}

func TestUnpackedKernelIsFound(t *testing.T) {
	root := t.TempDir()
	if _, ok := unpacked(root); ok {
		t.Error("nothing is a kernel")
	}
	modules := filepath.Join(root, "usr", "lib", "uml", "modules", "6.1")
	for _, dir := range []string{filepath.Join(root, "usr", "bin"), modules} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(root, "usr", "bin", "linux.uml"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if k, ok := unpacked(root); !ok || k.modules != modules {
		t.Errorf("%+v %t", k, ok)
	}
}
