package supervisor

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// Problem is one reason why a slot cannot work, and what to do about it.
type Problem struct {
	What, Remedy string
	Fatal        bool // only a new container helps, so waiting is pointless
}

func (p Problem) String() string { return p.What + ": " + p.Remedy }

// User is the user of the listener and its jobs.
type User struct {
	UID, GID int
	Groups   []int
}

// CheckRoot checks that the listener's program can be started and its directory written.
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
		case os.IsNotExist(err) && dir != root: // the first cleaning makes it
		case err != nil:
			problems = append(problems, Problem{err.Error(), "create the directory or set --runner.root", true})
		case unix.Access(dir, unix.W_OK) != nil || (dir == root && !u.may(info, 0o3)):
			problems = append(problems, Problem{fmt.Sprintf("%s is not writable for user %d", dir, u.UID),
				"chmod 1777 " + dir + ", and mount it without ro", true})
		}
	}
	return problems
}

// CheckProgram checks that no job can replace the program that runs the next job.
func CheckProgram(root string, u User) []Problem {
	if os.Geteuid() != 0 {
		return nil // jobs have the same user
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

// CheckToken checks that the supervisor can read the token's file, if there is one, and jobs
// cannot.
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

// DockerGroup returns the group of the Docker socket, which the job's user gets. ok is false
// without a socket, and if the group is root's.
func DockerGroup(path string) (gid int, ok bool) {
	info, err := os.Stat(path)
	if err != nil || info.Mode()&fs.ModeSocket == 0 {
		return 0, false
	}
	st, isStat := info.Sys().(*syscall.Stat_t)
	return int(st.Gid), isStat && st.Gid != 0
}

// CheckDocker checks that the job's user may use the Docker socket, if there is one.
func CheckDocker(path string, u User) []Problem {
	info, err := os.Stat(path)
	if err != nil {
		return nil // not mounted: jobs have no Docker
	}
	if info.Mode()&fs.ModeSocket == 0 {
		return []Problem{{What: path + " is not a socket", Remedy: "mount the socket of the Docker engine there, or nothing; Docker makes a directory of a path that does not exist"}}
	}
	if !u.may(info, 0o6) {
		return []Problem{{What: fmt.Sprintf("user %d may not use %s, whose group is root", u.UID, path),
			Remedy: "on the host: chgrp docker and chmod 660 the socket"}}
	}
	return nil
}

// CheckSpace checks that at least so many bytes are free to an unprivileged user.
func CheckSpace(path string, least uint64) []Problem {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return nil // CheckRoot reports it
	}
	free := st.Bavail * uint64(st.Bsize)
	if free >= least {
		return nil
	}
	return []Problem{{What: fmt.Sprintf("only %.1f GB are free on the disk of %s", float64(free)/1e9, path),
		Remedy: "free " + strconv.FormatFloat(float64(least)/1e9, 'f', -1, 64) + " GB, for example with docker builder prune"}}
}

// may reports whether the mode bits grant all of want (r=4 w=2 x=1) to the user. It ignores ACLs.
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
