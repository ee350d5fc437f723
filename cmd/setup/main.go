// Ghostrunner-setup checks the settings of a stack and writes its secrets.
//
//	ghostrunner-setup init     check every value of compose/.env, then write the secrets (the default)
//	ghostrunner-setup token    print the token that signs a person in to the remediator's page
//
// init checks every value that a program of the stack reads, with the parser of that program, and
// the group of Docker's socket. It prints all problems together, one line each, with the variable
// and what would be right, and exits with 1 before it writes anything. It needs no network: GitHub
// is not asked. What Compose itself parses, such as RUNNER_MEMORY, Compose reports before init is
// started.
//
// At each start it writes the GitHub token for the programs that use it, so a new one needs only
// `docker compose up -d`. It makes the webhook token and the password of Grafana's admin once. The
// paths are those of the service init in compose/compose.yaml.
package main

import (
	"context"
	"errors"
	"io"
	"strings"
	_ "time/tzdata" // REMEDIATION_WINDOW names time zones, and the image has no files

	"github.com/blueguy23/ghostrunner/cmd/internal/cli"
)

const program = "ghostrunner-setup"

func main() {
	cli.Main(func(_ context.Context, args []string, stdout, stderr io.Writer) int {
		return run(args, inCompose, stdout, stderr)
	})
}

// paths are where the service init finds and writes everything.
type paths struct {
	githubPAT, dockerSocket        string
	pat, webhookToken, grafanaPass string // written
}

var inCompose = paths{
	githubPAT:    "/run/secrets/github_pat",
	dockerSocket: "/var/run/docker.sock",
	pat:          "/run/github/pat",
	webhookToken: "/run/ghostrunner/webhook-token",
	grafanaPass:  "/run/grafana/grafana-password",
}

func run(args []string, at paths, stdout, stderr io.Writer) int {
	app := cli.New(program, "Checks the settings of a ghostrunner stack and writes its secrets.", stdout)
	app.Command("init", "Check every value of compose/.env, then write the secrets (the default).").Default()
	app.Command("token", "Print the token that signs a person in to the remediator's page.")
	command, done, err := app.Parse(args)
	switch {
	case done:
		return 0
	case err == nil && command == "token":
		err = printToken(at.webhookToken, stdout)
	case err == nil:
		err = initialize(at, stdout)
	}
	if err != nil {
		return cli.Fail(stderr, program, err)
	}
	return 0
}

// initialize checks the settings and, if none is wrong, writes the secrets.
func initialize(at paths, stdout io.Writer) error {
	v, err := readValues(at.githubPAT)
	if err != nil {
		return err
	}
	if wrong := v.problems(at.dockerSocket); len(wrong) > 0 {
		return errors.New("wrong values in compose/.env:\n  " + strings.Join(wrong, "\n  "))
	}
	return writeSecrets(at, v["GITHUB_PAT"], stdout)
}
