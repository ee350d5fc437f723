package supervisor

import (
	"context"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Problem is one thing that keeps a slot from working, and what to do about it.
type Problem struct {
	What, Remedy string
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
			"unpack the Actions runner into " + root + " or set --runner.root"})
	case info.IsDir() || !u.may(info, 0o1):
		problems = append(problems, Problem{fmt.Sprintf("%s is not executable for user %d", path, u.UID),
			"chmod 755 " + path})
	}
	for _, dir := range []string{root, filepath.Join(root, "_work")} {
		info, err := os.Stat(dir)
		switch {
		case os.IsNotExist(err) && dir != root: // made at the first cleaning
		case err != nil:
			problems = append(problems, Problem{err.Error(), "create the directory or set --runner.root"})
		case unix.Access(dir, unix.W_OK) != nil || (dir == root && !u.may(info, 0o3)):
			problems = append(problems, Problem{fmt.Sprintf("%s is not writable for user %d", dir, u.UID),
				"chmod 1777 " + dir + ", and mount it without ro"})
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
			return []Problem{{fmt.Sprintf("jobs can replace the runner's program: %s belongs to user %d, or is writable for it", path, u.UID),
				fmt.Sprintf("chown -R root:root %s; chmod 1777 %s", root, root)}}
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
		return []Problem{{"the file with the token cannot be read (" + err.Error() + ")", "mount it, or set --github.token-file (GITHUB_PAT_FILE)"}}
	}
	if os.Geteuid() == 0 && u.UID != 0 && u.may(info, 0o4) {
		return []Problem{{fmt.Sprintf("jobs can read the token in %s (mode %s)", path, info.Mode().Perm()),
			"chmod 600 and chown root the file on the host"}}
	}
	return nil
}

// CheckDocker checks the Docker socket, if one is mounted: somebody answers, and the job's user may ask.
func CheckDocker(ctx context.Context, path string, u User) []Problem {
	info, err := os.Stat(path)
	if err != nil {
		return nil // not mounted: jobs do without Docker
	}
	if info.Mode()&fs.ModeSocket == 0 {
		return []Problem{{path + " is not a socket", "mount the socket of the Docker engine there, or nothing; Docker makes a directory of a path that does not exist"}}
	}
	if !u.may(info, 0o6) {
		gid := 0
		if st, ok := info.Sys().(*syscall.Stat_t); ok {
			gid = int(st.Gid)
		}
		return []Problem{{fmt.Sprintf("user %d may not use %s", u.UID, path), fmt.Sprintf("set DOCKER_GID=%d, the group of the socket", gid)}}
	}
	dialer := net.Dialer{Timeout: 2 * time.Second}
	conn, err := dialer.DialContext(ctx, "unix", path)
	if err != nil {
		return []Problem{{"nobody answers at " + path + " (" + err.Error() + ")", "start the Docker engine on the host"}}
	}
	_ = conn.Close()
	return nil
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
	return []Problem{{fmt.Sprintf("only %.1f GB are free on the disk of %s", float64(free)/1e9, path),
		"free " + strconv.FormatFloat(float64(least)/1e9, 'f', -1, 64) + " GB, for example with docker builder prune"}}
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
