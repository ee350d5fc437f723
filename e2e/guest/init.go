package guest

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/blueguy23/ghostrunner/e2e/machine"
)

// needed are the modules of a Docker engine, without their dependencies.
var needed = []string{
	"overlay", "loop", "veth", "bridge", "br_netfilter", "nf_conntrack_netlink",
	"iptable_nat", "iptable_filter", "iptable_raw", "iptable_mangle", "ip6table_nat", "ip6table_filter", "ip6table_raw", "ip6table_mangle",
	"ipt_REJECT", "ip6t_REJECT", "xt_addrtype", "xt_conntrack", "xt_MASQUERADE", "xt_nat", "xt_REDIRECT", "xt_tcpudp", "xt_comment", "xt_mark", "xt_multiport", "xt_CHECKSUM",
}

// Boot does nothing in an ordinary process. As the first process of a guest it mounts file systems,
// runs the program of the order and powers off; it does not return.
func Boot() {
	dir := os.Getenv(parameter)
	if os.Getpid() != 1 || dir == "" {
		return
	}
	code, err := first(dir)
	if err != nil {
		fmt.Println("guest:", err)
		code = 1
	}
	if err := os.WriteFile(exitFile(dir), []byte(strconv.Itoa(code)), 0o600); err != nil {
		fmt.Println("guest:", err)
	}
	unix.Sync()
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF) // an error could not be reported any more
	select {}
}

// first runs in the guest's first process and returns the program's exit code.
func first(dir string) (code int, err error) {
	text, err := os.ReadFile(orderFile(dir))
	if err != nil {
		return 0, err
	}
	var o order
	if err := json.Unmarshal(text, &o); err != nil {
		return 0, fmt.Errorf("%s: %w", orderFile(dir), err)
	}
	if err := load(o.Modules); err != nil {
		return 0, err
	}
	if err := mounts(dir); err != nil {
		return 0, err
	}
	for _, kv := range o.Env {
		if value, ok := strings.CutPrefix(kv, "PATH="); ok {
			_ = os.Setenv("PATH", value) // to find commands, in this process too
		}
	}
	legacyTables()
	if out, err := exec.CommandContext(context.Background(), "ip", "link", "set", "lo", "up").CombinedOutput(); err != nil {
		return 0, fmt.Errorf("ip: %w: %s", err, out)
	}
	cmd := exec.CommandContext(context.Background(), o.Program, o.Args...)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = o.Folder, o.Env, os.Stdout, os.Stdout
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	return machine.Reap(cmd.Process.Pid)
}

// load loads the modules, dependencies first.
func load(folder string) error {
	f, err := os.Open(filepath.Join(folder, "modules.dep"))
	if err != nil {
		return err
	}
	defer f.Close()
	path, needs := map[string]string{}, map[string][]string{}
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		file, rest, _ := strings.Cut(lines.Text(), ":")
		name := moduleName(file)
		path[name] = filepath.Join(folder, file)
		for other := range strings.FieldsSeq(rest) {
			needs[name] = append(needs[name], moduleName(other))
		}
	}
	if err := lines.Err(); err != nil {
		return err
	}
	loaded := map[string]bool{}
	var one func(string) error
	one = func(name string) error {
		if loaded[name] || path[name] == "" { // built into the kernel
			return nil
		}
		loaded[name] = true
		for _, other := range needs[name] {
			if err := one(other); err != nil {
				return err
			}
		}
		m, err := os.Open(path[name])
		if err != nil {
			return err
		}
		defer m.Close()
		if err := unix.FinitModule(int(m.Fd()), "", 0); err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("module %s: %w", name, err)
		}
		return nil
	}
	for _, name := range needed {
		if err := one(name); err != nil {
			return err
		}
	}
	return nil
}

func moduleName(file string) string { return strings.TrimSuffix(filepath.Base(file), ".ko") }

// mounts creates the guest's root: the host's files, its own disk above them, and the file systems
// that programs expect.
func mounts(dir string) error {
	const disk, root = "/mnt", "/mnt/root" // folders that every machine has
	if err := unix.Mount("/dev/ubda", disk, "ext4", 0, ""); err != nil {
		return fmt.Errorf("mount the disk: %w", err)
	}
	for _, folder := range []string{"/mnt/upper", "/mnt/work", root} {
		if err := os.Mkdir(folder, 0o755); err != nil {
			return err
		}
	}
	for _, m := range []struct{ what, at, kind, data string }{
		{"overlay", "", "overlay", "lowerdir=/,upperdir=/mnt/upper,workdir=/mnt/work"},
		{"proc", "/proc", "proc", ""},
		{"sysfs", "/sys", "sysfs", ""},
		{"cgroup2", "/sys/fs/cgroup", "cgroup2", ""},
		{"devtmpfs", "/dev", "devtmpfs", ""},
		{"devpts", "/dev/pts", "devpts", ""},
		{"tmpfs", "/dev/shm", "tmpfs", "mode=1777"},
		{"tmpfs", "/run", "tmpfs", "mode=755"},
		{"none", dir, "hostfs", dir},
	} {
		at := root + m.at
		if err := os.MkdirAll(at, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(m.what, at, m.kind, 0, m.data); err != nil {
			return fmt.Errorf("mount %s: %w", at, err)
		}
	}
	// Put the new root over the old one, then detach the old one.
	if err := os.Chdir(root); err != nil {
		return err
	}
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("change the root: %w", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("leave the old root: %w", err)
	}
	return os.Chdir("/")
}

// legacyTables selects the legacy iptables: this kernel has their modules, but no nftables.
func legacyTables() {
	for _, name := range []string{"iptables", "iptables-save", "iptables-restore", "ip6tables", "ip6tables-save", "ip6tables-restore"} {
		legacy := filepath.Join("/usr/sbin", strings.Replace(name, "tables", "tables-legacy", 1))
		if _, err := os.Stat(legacy); err != nil {
			continue
		}
		at := filepath.Join("/usr/sbin", name)
		_ = os.Remove(at)
		_ = os.Symlink(legacy, at) // the engine reports if it cannot work
	}
}
