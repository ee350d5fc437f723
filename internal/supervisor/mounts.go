package supervisor

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// mounts are the mount points of this container. A job cannot make one, so a volume below a
// directory that is emptied, such as a cache in the job's home, is wanted, and stays.
type mounts []string

// readMounts reads the fifth field of each line of /proc/self/mountinfo, in which white space is
// written as \040 and the like (proc_pid_mountinfo(5)).
func readMounts() (mounts, error) {
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("read mount points: %w", err)
	}
	unescape := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
	var all mounts
	for line := range strings.Lines(string(data)) {
		if fields := strings.Fields(line); len(fields) > 4 {
			all = append(all, unescape.Replace(fields[4]))
		}
	}
	return all, nil
}

func (m mounts) at(name string) bool { return slices.Contains(m, name) }

func (m mounts) below(name string) bool {
	return slices.ContainsFunc(m, func(point string) bool { return strings.HasPrefix(point, name+"/") })
}

// remove removes a file or a tree of root, whose path is dir, except mount points, their content,
// and the directories that lead to them. It never follows a link. It descends only where something
// is mounted below, which no job can cause.
func (m mounts) remove(root *os.Root, dir, name string) error {
	whole := filepath.Join(dir, name)
	switch {
	case m.at(whole):
		return nil
	case m.below(whole):
		return m.empty(root, dir, name)
	default:
		return root.RemoveAll(name)
	}
}

// empty removes the content of a directory, with the same exceptions.
func (m mounts) empty(root *os.Root, dir, name string) error {
	if info, err := root.Lstat(name); errors.Is(err, fs.ErrNotExist) || err == nil && !info.IsDir() {
		return root.RemoveAll(name)
	}
	entries, err := fs.ReadDir(root.FS(), name)
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range entries {
		errs = append(errs, m.remove(root, dir, path.Join(name, e.Name())))
	}
	return errors.Join(errs...)
}
