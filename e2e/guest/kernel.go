package guest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// kernel is a User Mode Linux with its modules.
type kernel struct{ program, modules string }

// debian is the package of both on Debian and Ubuntu.
const debian = "user-mode-linux"

// findKernel returns the installed kernel, or that of the distribution's package, which is
// downloaded once and unpacked into the folder, not installed.
func findKernel(ctx context.Context, dir string) (kernel, error) {
	if k, ok := unpacked("/"); ok {
		return k, nil
	}
	root := filepath.Join(dir, "kernel")
	if k, ok := unpacked(root); ok {
		return k, nil
	}
	if err := os.MkdirAll(root, 0o755); err != nil {
		return kernel{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	fetch := exec.CommandContext(ctx, "sh", "-c", `rm -f *.deb && apt-get download -qq "$0" && dpkg -x *.deb .`, debian)
	fetch.Dir = root
	if out, err := fetch.CombinedOutput(); err != nil {
		return kernel{}, fmt.Errorf("no kernel for a guest: install %s, or let apt-get download it: %w: %s", debian, err, out)
	}
	if k, ok := unpacked(root); ok {
		return k, nil
	}
	return kernel{}, errors.New("the package " + debian + " holds no kernel: this machine is not amd64 or i386")
}

// unpacked returns the kernel below a folder.
func unpacked(root string) (kernel, bool) {
	program := filepath.Join(root, "usr", "bin", "linux.uml")
	modules, err := filepath.Glob(filepath.Join(root, "usr", "lib", "uml", "modules", "*"))
	if info, statErr := os.Stat(program); err != nil || statErr != nil || info.IsDir() || len(modules) != 1 {
		return kernel{}, false
	}
	return kernel{program: program, modules: modules[0]}, true
}

// Missing returns why no guest can run here; empty if one can.
func Missing() string {
	if os.Geteuid() != 0 {
		return "needs root"
	}
	if _, ok := unpacked("/"); ok {
		return ""
	}
	for _, tool := range []string{"apt-get", "dpkg"} {
		if _, err := exec.LookPath(tool); err != nil {
			return "needs a User Mode Linux kernel (Debian's and Ubuntu's package " + debian + ")"
		}
	}
	return ""
}
