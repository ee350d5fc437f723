package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"syscall"
)

// checkSetting says what is wrong with one value of compose/.env, and what would be right, as far as that can be seen without GitHub.
//
// Compose has no word for it: where a service that others wait for fails, it tells the name of that service and stops. So each of
// these services is named after the value that it looks at.
func checkSetting(cfg config, stdout io.Writer) error {
	var err error
	switch cfg.setting {
	case "REPO_OWNER":
		err = cfg.github.CheckOwner()
	case "REPO_NAME":
		err = cfg.github.CheckRepo()
	case "DOCKER_GID":
		err = checkDockerGroup(cfg.dockerGID, cfg.dockerSocket)
	}
	if err != nil {
		return fmt.Errorf("compose/.env: %w", err)
	}
	_, err = fmt.Fprintf(stdout, "%s may be right\n", cfg.setting)
	return err
}

// checkDockerGroup compares the group that the proxies get with the one of the engine's socket. It looks at the socket as a
// container sees it, which with Docker Desktop is not what the host sees; to open it is not needed.
func checkDockerGroup(gid, socket string) error {
	var st syscall.Stat_t
	if err := syscall.Stat(socket, &st); err != nil {
		return fmt.Errorf("DOCKER_GID cannot be compared with the group of the Docker socket: %w", &os.PathError{Op: "stat", Path: socket, Err: err})
	}
	const forGroup, forAll = 0o060, 0o006
	is, err := strconv.ParseUint(gid, 10, 32)
	switch right := fmt.Sprintf("set DOCKER_GID=%d", st.Gid); {
	case err != nil:
		return fmt.Errorf("DOCKER_GID=%q is not the number of a group: %s", gid, right)
	case st.Mode&forAll == forAll:
		return nil
	case st.Mode&forGroup != forGroup:
		return errors.New("DOCKER_GID does not help: the Docker socket is closed to its group: chmod g+rw, and " + right)
	case uint32(is) != st.Gid:
		return fmt.Errorf("DOCKER_GID=%d, but the Docker socket belongs to group %d: %s", is, st.Gid, right)
	default:
		return nil
	}
}
