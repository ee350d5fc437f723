package supervisor

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// SetSudo lets the job's user become root without a password, or takes that away again: it writes or removes one file among sudo's
// own (sudoers(5); its directory belongs to the image), and gives the program the bit by which it becomes root, which no program in
// our image has. A job that is root can read the token and change what runs the next job.
func SetSudo(file string, uid int, on bool) error {
	if !on {
		if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("take sudo from jobs: %w", err)
		}
		return nil
	}
	rule := fmt.Sprintf("# Written by ghostrunner-runner because RUNNER_SUDO is true.\n#%d ALL=(ALL:ALL) NOPASSWD: ALL\n", uid)
	if err := os.WriteFile(file, []byte(rule), 0o440); err != nil {
		return fmt.Errorf("give sudo to jobs: %w", err)
	}
	err := os.Chmod(file, 0o440)                                   // sudo refuses a file that others can write
	if program, lookErr := exec.LookPath("sudo"); lookErr == nil { // CheckSudo tells where it is missing
		err = errors.Join(err, os.Chmod(program, 0o755|fs.ModeSetuid))
	}
	return err
}

// CheckSudo checks that sudo can work where it is wanted.
func CheckSudo(file string, on bool) []Problem {
	if !on {
		return nil
	}
	var problems []Problem
	if _, err := exec.LookPath("sudo"); err != nil {
		problems = append(problems, Problem{What: "RUNNER_SUDO is true, and there is no sudo", Remedy: "install it in the image, or set RUNNER_SUDO=false"})
	}
	if info, err := os.Stat(filepath.Dir(file)); err != nil || !info.IsDir() {
		problems = append(problems, Problem{What: "RUNNER_SUDO is true, and there is no directory " + filepath.Dir(file), Remedy: "install sudo in the image, or set RUNNER_SUDO=false"})
	}
	if set, err := unix.PrctlRetInt(unix.PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0); err == nil && set == 1 {
		problems = append(problems, Problem{What: "RUNNER_SUDO is true, and this container forbids new privileges", Remedy: "add compose/sudo.yaml to COMPOSE_FILE, which allows them, or set RUNNER_SUDO=false"})
	}
	return problems
}
