package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/blueguy23/ghostrunner/cmd/internal/cli"
)

// token prints the present token, or makes one.
func token(cfg config, stdout io.Writer) error {
	if cfg.tokenOut != "" {
		return makeToken(cfg.tokenOut, cfg.tokenMode, stdout)
	}
	secret, err := cli.ReadSecret("web.bearer-token-file", cfg.tokenFile)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(stdout, secret)
	return err
}

// makeToken writes a random token to a file that does not exist yet. The file appears whole or not at all: it is written
// under another name and linked, which fails if somebody was faster.
func makeToken(path string, mode fs.FileMode, stdout io.Writer) error {
	if _, err := os.Stat(path); err == nil {
		_, err = fmt.Fprintf(stdout, "%s exists and is left as it is\n", path)
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".token-*")
	if err != nil {
		return fmt.Errorf("--out: %w", err)
	}
	defer func() { _ = os.Remove(f.Name()) }()               // its other name stays
	_, err = f.WriteString(rand.Text() + rand.Text() + "\n") // 260 bits
	err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
	if err != nil {
		return fmt.Errorf("--out: %w", err)
	}
	switch err := os.Link(f.Name(), path); {
	case errors.Is(err, fs.ErrExist):
		_, err = fmt.Fprintf(stdout, "%s exists and is left as it is\n", path)
		return err
	case err != nil:
		return fmt.Errorf("--out: %w", err)
	}
	_, err = fmt.Fprintf(stdout, "wrote a new token to %s\n", path)
	return err
}
