package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// maxSecret is far more than any token, and bounds what a wrong file name can cost.
const maxSecret = 64 << 10

// ErrEmpty is what a file without a secret gives. It may be filled later: a secret is read again whenever it is used.
var ErrEmpty = errors.New("is empty: write the token into it, it is read again whenever it is used")

// TakeEnv returns a secret from the environment and removes it there, where children inherit it and others may read it.
func TakeEnv(name string) string {
	value := strings.TrimSpace(os.Getenv(name))
	_ = os.Unsetenv(name) // fails only for a name that is none
	return value
}

// Secret returns how to get a secret: from the file that a flag names, read whenever it is used, else what the environment
// said. It returns nil if there is neither.
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

// ReadSecret reads a secret as it is now, without the white space and line ends around it. The error names the flag and
// never holds anything of the content.
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
	secret := strings.TrimSpace(strings.TrimPrefix(string(b), "\ufeff")) // Windows editors mark UTF-8 so
	switch {
	case secret == "":
		return "", fmt.Errorf("--%s: %s %w", flag, path, ErrEmpty)
	case strings.ContainsRune(secret, 0):
		return "", fmt.Errorf("--%s: %s is UTF-16, as PowerShell's > writes it, or no text at all: save it as plain text", flag, path)
	case strings.ContainsAny(secret, " \t\r\n\"'"):
		return "", fmt.Errorf("--%s: %s contains more than a token: white space or quotes; leave nothing in it but the token", flag, path)
	}
	return secret, nil
}
