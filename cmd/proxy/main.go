// Ghostrunner-proxy is the only one of our programs that opens Docker's socket. It stands before the exporter or the
// remediator, each with a proxy of its own, and lets through what that program asks for and nothing else: no exec, no new
// container, no look into one, nothing of others, no volume.
//
// # What passes
//
// The calls in internal/dockerproxy/exporter.go or remediator.go, by --client. A container must carry every --docker.label,
// as for the client itself; to be ended or started it needs ghostrunner.heal. With --prune.label an image must carry that
// to be removed, and the build cache stays. A refusal is answered with 403 and logged, with its reason.
//
// # Where it listens
//
// On --listen.socket, a socket for this user alone. It needs no network: put it into a volume that the client mounts too,
// and give the client DOCKER_HOST=unix://PATH.
//
//	ghostrunner-proxy --client=exporter --docker.label=com.docker.compose.project=ghostrunner
//	ghostrunner-proxy healthcheck      whether the engine answers through the proxy that listens there; exit 1 if not
//
// Every flag is also an environment variable, named in --help. SIGTERM and SIGINT end the process with exit code 0; a
// flag or value that cannot be used ends it with 1 and one line before anything is started. A socket on which nobody has
// listened for a minute ends it with 1 too: whatever starts it again gives it the one that is there then.
package main

import (
	"context"
	"io"

	"github.com/blueguy23/ghostrunner/cmd/internal/cli"
	"github.com/blueguy23/ghostrunner/internal/dockerproxy"
)

const program = "ghostrunner-proxy"

func main() { cli.Main(run) }

// config is what the command line and the environment say.
type config struct {
	command string
	app     *cli.App

	client       string
	dockerSocket string
	dockerLabels []string
	pruneLabel   string
	listenSocket string
}

// parse reads args and the environment. done says that everything is done already: help or version was asked for.
func parse(args []string, stdout io.Writer) (cfg config, done bool, err error) {
	app := cli.New(program, "Lets one program of ghostrunner ask the Docker engine what it needs to, and nothing else.", stdout)
	cfg.app = app
	app.Flag("client", "Whose calls pass: exporter or remediator.").StringVar(&cfg.client)
	app.Flag("docker.socket", "Socket of the Docker engine.").Default("/var/run/docker.sock").StringVar(&cfg.dockerSocket)
	app.Flag("docker.label", "KEY=VALUE that a container must carry to be within reach. Repeatable: all must match.").StringsVar(&cfg.dockerLabels)
	app.Flag("prune.label", "KEY=VALUE that an object must carry to be removed; build cache is then left alone. Empty: any unused image.").StringVar(&cfg.pruneLabel)
	app.Flag("listen.socket", "Socket to listen on.").Default("/run/docker/docker.sock").StringVar(&cfg.listenSocket)
	app.Command("serve", "Stand between (the default).").Default()
	app.Command("healthcheck", "Tell whether the engine answers through the proxy that listens, by exit code.")
	cfg.command, done, err = app.Parse(args)
	return cfg, done, err
}

// run is main without the process: it can be called any number of times in one.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	cfg, done, err := parse(args, stdout)
	switch {
	case done:
		return 0
	case err != nil:
		return cli.Fail(stderr, program, err)
	}
	if cfg.command == "healthcheck" {
		err = healthcheck(ctx, cfg.listenSocket)
	} else {
		err = serve(ctx, cfg, dockerproxy.Options{
			Socket: cfg.dockerSocket, Client: dockerproxy.Client(cfg.client), Labels: cfg.dockerLabels, PruneLabel: cfg.pruneLabel,
			Logger: cfg.app.Logger(stderr),
		})
	}
	if err != nil {
		return cli.Fail(stderr, program, err)
	}
	return 0
}
