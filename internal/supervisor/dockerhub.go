package supervisor

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// Login is an account at Docker Hub for the docker commands of jobs, because anonymous pulls are
// limited. Jobs can read the token, so it should only allow to pull.
type Login struct {
	Username string                 // empty: none
	Token    func() (string, error) // called before each listener
}

// logIn writes what docker login would write (docker/cli cli/config, "auths") into the home of the
// job's user. The home was just emptied, and cleanUp removes it with the home.
func (s *Supervisor) logIn() error {
	if s.cfg.DockerHub.Username == "" {
		return nil
	}
	token, err := s.cfg.DockerHub.Token()
	if err != nil {
		return err
	}
	auth := base64.StdEncoding.EncodeToString([]byte(s.cfg.DockerHub.Username + ":" + token))
	data, err := json.Marshal(map[string]any{"auths": map[string]any{"https://index.docker.io/v1/": map[string]string{"auth": auth}}})
	if err != nil {
		return fmt.Errorf("encode the login: %w", err)
	}
	home, err := os.OpenRoot(filepath.Join(s.cfg.Root, homeDir))
	if err != nil {
		return fmt.Errorf("open the job's home: %w", err)
	}
	defer func() { _ = home.Close() }()
	const file = ".docker/config.json"
	err = errors.Join(home.Mkdir(".docker", 0o700), home.WriteFile(file, data, 0o600))
	if os.Geteuid() == 0 {
		err = errors.Join(err, home.Lchown(".docker", s.cfg.UID, s.cfg.GID), home.Lchown(file, s.cfg.UID, s.cfg.GID))
	}
	if err != nil {
		return fmt.Errorf("write the login: %w", err)
	}
	return nil
}
