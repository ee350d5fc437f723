package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// maxSecret bounds what is read from a wrong file name. Tokens are much shorter.
const maxSecret = 64 << 10

// ErrEmpty reports a file without a secret. It may be filled later: a secret is read on each use.
var ErrEmpty = errors.New("is empty: write the token into it, it is read again whenever it is used")

// TakeEnv returns a secret from the environment and removes it there, so that children do not
// inherit it.
func TakeEnv(name string) string {
	value := strings.TrimSpace(os.Getenv(name))
	_ = os.Unsetenv(name) // fails only for an invalid name
	return value
}

// Secret returns a function that reads a secret: from the file that the flag names, on each call,
// else the value of the environment. It returns nil if there is neither.
func Secret(flag, path, env string) func() (string, error) {
	switch {
	case path != "":
		return func() (string, error) { return ReadSecret(flag, path) }
	case env != "":
		return func() (string, error) { return env, nil }
	default:
		return nil
	}
}

// ReadSecret reads a secret without the white space around it. Errors name the flag and contain
// nothing of the content.
func ReadSecret(flag, path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("--%s: %w", flag, err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxSecret))
	if err != nil {
		return "", fmt.Errorf("--%s: %w", flag, err)
	}
	secret := strings.TrimSpace(strings.TrimPrefix(string(b), "\ufeff")) // the UTF-8 mark of Windows editors
	switch {
	case secret == "":
		return "", fmt.Errorf("--%s: %s %w", flag, path, ErrEmpty)
	case strings.ContainsRune(secret, 0):
		return "", fmt.Errorf("--%s: %s is UTF-16, as PowerShell's > writes it, or not text: save it as plain text", flag, path)
	case strings.ContainsAny(secret, " \t\r\n\"'"):
		return "", fmt.Errorf("--%s: %s contains more than a token: white space or quotes; leave only the token in it", flag, path)
	}
	return secret, nil
}
