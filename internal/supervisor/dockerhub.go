package supervisor

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
)

// Login is an account at Docker Hub for the docker commands of jobs, because anonymous pulls are few. Jobs can read the token, as
// they can after any docker login, so it should allow no more than reading.
type Login struct {
	Username string                 // "" = none
	Token    func() (string, error) // read before each listener
}

// logIn writes what docker login would write into the home of the job's user (docker/cli cli/config, "auths"). The home was
// emptied a moment ago, and nothing runs that could have put a link there. It goes with the home.
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
	if err := home.Mkdir(".docker", 0o700); err != nil {
		return fmt.Errorf("write the login: %w", err)
	}
	const file = ".docker/config.json"
	if err := home.WriteFile(file, data, 0o600); err != nil {
		return fmt.Errorf("write the login: %w", err)
	}
	if os.Geteuid() != 0 {
		return nil
	}
	for _, name := range []string{".docker", file} {
		if err := home.Lchown(name, s.cfg.UID, s.cfg.GID); err != nil {
			return fmt.Errorf("give the login to the job's user: %w", err)
		}
	}
	return nil
}
