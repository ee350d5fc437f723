package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// keepPAT writes the GitHub token into a file that only this user can read, in place of an older one. The programs read it
// whenever they use it: a token in a new .env reaches them with `docker compose up -d`, and nothing is restarted.
//
// It exists because Compose cannot bring a secret out of the environment into a container that is read-only; this is the one
// that is not. It is also the place where a placeholder stops everything, before any runner is started.
func keepPAT(cfg config, stdout io.Writer) error {
	read := cfg.github.Token()
	if read == nil {
		return errors.New("GITHUB_PAT: not given: set it in compose/.env")
	}
	token, err := read()
	if err != nil {
		return fmt.Errorf("GITHUB_PAT: %w", err)
	}
	if _, err := cfg.github.Scope(); err != nil {
		return fmt.Errorf("REPO_OWNER, REPO_NAME: %w", err)
	}
	f, err := os.CreateTemp(filepath.Dir(cfg.patOut), ".pat-*")
	if err != nil {
		return fmt.Errorf("--out: %w", err)
	}
	defer func() { _ = os.Remove(f.Name()) }() // it has its other name by then
	_, err = f.WriteString(token + "\n")
	err = errors.Join(err, f.Chmod(0o400), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), cfg.patOut)
	}
	if err != nil {
		return fmt.Errorf("--out: %w", err)
	}
	_, err = fmt.Fprintf(stdout, "wrote the token to %s\n", cfg.patOut)
	return err
}
