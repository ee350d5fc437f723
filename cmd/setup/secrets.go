package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/moby/sys/atomicwriter"
)

// writeSecrets writes the GitHub token, which only this user and root may read, and makes the
// secrets that do not exist yet. Those are readable by all users of the containers that mount them:
// Alertmanager, Grafana and the remediator run as different ones.
func writeSecrets(at paths, pat string, stdout io.Writer) error {
	if err := atomicwriter.WriteFile(at.pat, []byte(pat+"\n"), 0o400); err != nil {
		return fmt.Errorf("write the GitHub token: %w; remove the volume github-pat, and init makes a new one", err)
	}
	fmt.Fprintf(stdout, "wrote the GitHub token to %s\n", at.pat)
	for _, path := range []string{at.webhookToken, at.grafanaPass} {
		if err := makeSecret(path, stdout); err != nil {
			return err
		}
	}
	return nil
}

// makeSecret writes a random secret unless there is one.
func makeSecret(path string, stdout io.Writer) error {
	present, err := os.ReadFile(path)
	switch {
	case err == nil && len(strings.TrimSpace(string(present))) > 0:
		fmt.Fprintf(stdout, "kept %s\n", path)
		return nil
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("read a secret: %w; remove the file to get a new one", err)
	}
	secret := rand.Text() + rand.Text() // 260 bits
	if err := atomicwriter.WriteFile(path, []byte(secret+"\n"), 0o444); err != nil {
		return fmt.Errorf("write a new secret to %s: %w; remove its volume, and init makes a new one", path, err)
	}
	fmt.Fprintf(stdout, "wrote a new secret to %s\n", path)
	return nil
}

// printToken prints the webhook token, which also signs a person in.
func printToken(path string, stdout io.Writer) error {
	token, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read the webhook token: %w; `docker compose up -d` makes one", err)
	}
	_, err = fmt.Fprintln(stdout, strings.TrimSpace(string(token)))
	return err
}
