package supervisor

import (
	"context"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Problem is one thing that keeps a slot from working, and what to do about it.
type Problem struct {
	What, Remedy string
	Fatal        bool // nothing can mend it but a new container, so there is no use in waiting
}

func (p Problem) String() string { return p.What + ": " + p.Remedy }

// User is who the listener and its jobs run as.
type User struct {
	UID, GID int
	Groups   []int
}

// CheckRoot checks what is needed on the disk before a listener can be started: its program, and a directory that it can
// write.
func CheckRoot(root string, u User) []Problem {
	var problems []Problem
	path := listenerPath(root)
	info, err := os.Stat(path)
	switch {
	case err != nil:
		problems = append(problems, Problem{"the runner's program is missing (" + err.Error() + ")",
			"unpack the Actions runner into " + root + " or set --runner.root", true})
	case info.IsDir() || !u.may(info, 0o1):
		problems = append(problems, Problem{fmt.Sprintf("%s is not executable for user %d", path, u.UID),
			"chmod 755 " + path, true})
	}
	for _, dir := range []string{root, filepath.Join(root, "_work")} {
		info, err := os.Stat(dir)
		switch {
		case os.IsNotExist(err) && dir != root: // made at the first cleaning
		case err != nil:
			problems = append(problems, Problem{err.Error(), "create the directory or set --runner.root", true})
		case unix.Access(dir, unix.W_OK) != nil || (dir == root && !u.may(info, 0o3)):
			problems = append(problems, Problem{fmt.Sprintf("%s is not writable for user %d", dir, u.UID),
				"chmod 1777 " + dir + ", and mount it without ro", true})
		}
	}
	return problems
}

// CheckProgram checks that a job cannot replace what the next job will be run by.
func CheckProgram(root string, u User) []Problem {
	if os.Geteuid() != 0 {
		return nil // there is no other user
	}
	for _, path := range []string{root, filepath.Join(root, "bin"), listenerPath(root)} {
		info, err := os.Stat(path)
		if err == nil && (owns(u.UID, info) || u.may(info, 0o2) && info.Mode()&fs.ModeSticky == 0) {
			return []Problem{{What: fmt.Sprintf("jobs can replace the runner's program: %s belongs to user %d, or is writable for it", path, u.UID),
				Remedy: fmt.Sprintf("chown -R root:root %s; chmod 1777 %s", root, root)}}
		}
	}
	return nil
}

// CheckToken checks the file with the token, if there is one: readable for us, and not for the jobs.
func CheckToken(path string, u User) []Problem {
	if path == "" {
		return nil
	}
	info, err := os.Stat(path)
	if err != nil {
		return []Problem{{What: "the file with the token cannot be read (" + err.Error() + ")", Remedy: "mount it, or set --github.token-file (GITHUB_PAT_FILE)"}}
	}
	if os.Geteuid() == 0 && u.UID != 0 && u.may(info, 0o4) {
		return []Problem{{What: fmt.Sprintf("jobs can read the token in %s (mode %s)", path, info.Mode().Perm()),
			Remedy: "chmod 600 and chown root the file on the host"}}
	}
	return nil
}

// DockerGroup is the group that may use the Docker socket, if one is mounted and its group is not root's: the job's user gets it.
func DockerGroup(path string) (gid int, ok bool) {
	info, err := os.Stat(path)
	if err != nil || info.Mode()&fs.ModeSocket == 0 {
		return 0, false
	}
	st, isStat := info.Sys().(*syscall.Stat_t)
	return int(st.Gid), isStat && st.Gid != 0
}

// CheckDocker checks the Docker socket, if one is mounted: an engine answers, and the job's user may ask.
func CheckDocker(ctx context.Context, path string, u User) []Problem {
	info, err := os.Stat(path)
	if err != nil {
		return nil // not mounted: jobs do without Docker
	}
	if info.Mode()&fs.ModeSocket == 0 {
		return []Problem{{What: path + " is not a socket", Remedy: "mount the socket of the Docker engine there, or nothing; Docker makes a directory of a path that does not exist"}}
	}
	if !u.may(info, 0o6) {
		return []Problem{{What: fmt.Sprintf("user %d may not use %s, whose group is root's own", u.UID, path),
			Remedy: "on the host give the socket to a group of its own: chgrp docker and chmod 660"}}
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	client := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", path)
		},
	}}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://docker/_ping", nil)
	if err != nil {
		return []Problem{{What: err.Error(), Remedy: "report this"}}
	}
	response, err := client.Do(request)
	if err != nil {
		return []Problem{{What: "no Docker engine answers at " + path + " (" + err.Error() + ")", Remedy: "start the Docker engine on the host"}}
	}
	_ = response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return []Problem{{What: path + " answers " + response.Status + " to a ping", Remedy: "look at the Docker engine on the host, or at the proxy before it"}}
	}
	return nil
}

// CheckGit looks for git: without it, checkouts become downloads without a history.
func CheckGit() []Problem {
	if _, err := exec.LookPath("git"); err != nil {
		return []Problem{{What: "there is no git for the jobs", Remedy: "install git in the image"}}
	}
	return nil
}

// keepalive holds, for each value, the most that still notices within a quarter of an hour that the other end is gone, and what to set.
// The kernel's own take more than two hours. They are the container's, and only Docker can set them.
var keepalive = []struct {
	name         string
	most, advice int
}{
	{"tcp_keepalive_time", 600, 60}, {"tcp_keepalive_intvl", 30, 10}, {"tcp_keepalive_probes", 9, 6},
}

// CheckKeepalive checks how soon the kernel notices that a connection is dead, as sleep and VPNs leave them.
func CheckKeepalive(proc string) []Problem {
	var slow, set []string
	for _, k := range keepalive {
		data, err := os.ReadFile(filepath.Join(proc, "sys/net/ipv4", k.name))
		if err != nil {
			continue // a kernel without it
		}
		if n, err := strconv.Atoi(strings.TrimSpace(string(data))); err == nil && n > k.most {
			slow = append(slow, fmt.Sprintf("net.ipv4.%s is %d", k.name, n))
			set = append(set, fmt.Sprintf("net.ipv4.%s: %d", k.name, k.advice))
		}
	}
	if len(slow) == 0 {
		return nil
	}
	return []Problem{{What: "dead connections go unnoticed for long: " + strings.Join(slow, ", "),
		Remedy: "set " + strings.Join(set, ", ") + " under sysctls of the service, as compose.yaml does"}}
}

// CheckSpace checks that a job finds some room: bytes free to an unprivileged user.
func CheckSpace(path string, least uint64) []Problem {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return nil // CheckRoot says so
	}
	free := st.Bavail * uint64(st.Bsize)
	if free >= least {
		return nil
	}
	return []Problem{{What: fmt.Sprintf("only %.1f GB are free on the disk of %s", float64(free)/1e9, path),
		Remedy: "free " + strconv.FormatFloat(float64(least)/1e9, 'f', -1, 64) + " GB, for example with docker builder prune"}}
}

// may tells whether the mode bits grant all of want (r=4 w=2 x=1) to the user. Access lists are not looked at.
func (u User) may(info fs.FileInfo, want fs.FileMode) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok || u.UID == 0 {
		return true
	}
	mode := info.Mode().Perm()
	switch {
	case int(st.Uid) == u.UID:
		mode >>= 6
	case int(st.Gid) == u.GID || slices.Contains(u.Groups, int(st.Gid)):
		mode >>= 3
	}
	return mode&want == want
}
