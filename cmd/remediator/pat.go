package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/blueguy23/ghostrunner/cmd/internal/cli"
)

// keepPAT writes the GitHub token into a file that only this user can read, in place of an older one. The programs read it
// whenever they use it: a token in a new .env reaches them with `docker compose up -d`, and nothing is restarted.
//
// It exists because Compose cannot bring a secret out of the environment into a container that is read-only; this is the one
// that is not. It is also the place where a placeholder stops everything, before any runner is started.
func keepPAT(cfg config, stdout io.Writer) error {
	token := cfg.github.TokenEnv
	if cfg.github.TokenFile != "" {
		var err error
		if token, err = cli.ReadSecret("github.token-file", cfg.github.TokenFile); err != nil {
			return fmt.Errorf("compose/.env: GITHUB_PAT: %w", err)
		}
	}
	if token == "" {
		return errors.New("compose/.env: GITHUB_PAT is empty: set it to a token of GitHub")
	}
	// Not by the name of the file, which people do not know.
	if _, err := (&cli.GitHub{TokenEnv: token}).Token()(); err != nil {
		return fmt.Errorf("compose/.env: %w", err)
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
