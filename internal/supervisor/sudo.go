package supervisor

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"

	"golang.org/x/sys/unix"
)

// SetSudo allows the job's user to become root without a password, or forbids it. It writes or
// removes one file among sudo's rules (sudoers(5)) and makes the program setuid, which no program
// of our image is. A job that is root can read the token and change what runs the next job.
func SetSudo(file string, uid int, on bool) error {
	if !on {
		if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("forbid sudo to jobs: %w", err)
		}
		return nil
	}
	rule := fmt.Sprintf("# Written by ghostrunner-runner because RUNNER_SUDO is true.\n#%d ALL=(ALL:ALL) NOPASSWD: ALL\n", uid)
	if err := os.WriteFile(file, []byte(rule), 0o440); err != nil {
		return fmt.Errorf("allow sudo to jobs: %w", err)
	}
	err := os.Chmod(file, 0o440)                                   // sudo refuses a file that others can write
	if program, lookErr := exec.LookPath("sudo"); lookErr == nil { // CheckSudo reports a missing one
		err = errors.Join(err, os.Chmod(program, 0o755|fs.ModeSetuid))
	}
	return err
}

// CheckSudo checks that sudo works, if it is allowed.
func CheckSudo(on bool) []Problem {
	if !on {
		return nil
	}
	var problems []Problem
	if _, err := exec.LookPath("sudo"); err != nil {
		problems = append(problems, Problem{What: "RUNNER_SUDO is true, and there is no sudo", Remedy: "install it in the image, or set RUNNER_SUDO=false"})
	}
	if set, err := unix.PrctlRetInt(unix.PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0); err == nil && set == 1 {
		problems = append(problems, Problem{What: "RUNNER_SUDO is true, and this container forbids new privileges", Remedy: "add compose/sudo.yaml to COMPOSE_FILE, which allows them, or set RUNNER_SUDO=false"})
	}
	return problems
}
