// Ghostrunner-proxy is the only program of ours that opens Docker's socket. The exporter and the
// remediator each have one, which passes on the calls of that program and nothing else: no exec, no
// new container, no file of one, no object of others, no volume.
//
// # What passes
//
// The calls in internal/dockerproxy/exporter.go or remediator.go, by --client. A container must
// have every --docker.label; to be stopped or started it also needs ghostrunner.heal. With
// --prune.label an image must have that label to be removed, and the build cache stays. A refusal
// is answered with 403 and logged with its reason.
//
// # Where it listens
//
// On --listen.socket, a socket for this user only. It needs no network: mount the socket's volume
// into the client too, and set its DOCKER_HOST=unix://PATH.
//
//	ghostrunner-proxy --client=exporter --docker.label=com.docker.compose.project=ghostrunner
//	ghostrunner-proxy healthcheck      exit 1 if the engine does not answer through that socket
//
// Every flag is also an environment variable, named in --help. SIGTERM and SIGINT end the program
// with exit code 0. A wrong flag ends it with exit code 1 and one line before anything is started.
// If Docker's socket has had no listener for a minute it exits with 1 too, so that its restart
// policy mounts the engine's new socket.
package main

import (
	"context"
	"io"

	"github.com/blueguy23/ghostrunner/cmd/internal/cli"
	"github.com/blueguy23/ghostrunner/internal/dockerproxy"
)

const program = "ghostrunner-proxy"

func main() { cli.Main(run) }

type config struct {
	command string
	app     *cli.App

	proxy        dockerproxy.Options
	listenSocket string
}

// parse reads args and the environment. done reports that help or the version was printed.
func parse(args []string, stdout io.Writer) (cfg config, done bool, err error) {
	app := cli.New(program, "Passes on to the Docker engine the calls of one program of ghostrunner, and nothing else.", stdout)
	cfg.app = app
	app.Flag("client", "Program whose calls pass: exporter or remediator.").StringVar((*string)(&cfg.proxy.Client))
	app.Flag("docker.socket", "Socket of the Docker engine.").Default("/var/run/docker.sock").StringVar(&cfg.proxy.Socket)
	app.Flag("docker.label", "KEY=VALUE that a container must have. Repeatable: all must match.").StringsVar(&cfg.proxy.Labels)
	app.Flag("prune.label", "KEY=VALUE that an object must have to be removed; the build cache then stays. Empty: any unused image.").StringVar(&cfg.proxy.PruneLabel)
	app.Flag("listen.socket", "Socket to listen on.").Default("/run/docker/docker.sock").StringVar(&cfg.listenSocket)
	app.Command("serve", "Run the proxy (the default).").Default()
	app.Command("healthcheck", "Check that the engine answers through the proxy; exit 1 if not.")
	cfg.command, done, err = app.Parse(args)
	return cfg, done, err
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	cfg, done, err := parse(args, stdout)
	switch {
	case done:
		return 0
	case err != nil:
		return cli.Fail(stderr, program, err)
	}
	if cfg.command == "healthcheck" {
		err = cli.PingDocker(ctx, cfg.listenSocket)
	} else {
		cfg.proxy.Logger = cfg.app.Logger(stderr)
		err = serve(ctx, cfg)
	}
	if err != nil {
		return cli.Fail(stderr, program, err)
	}
	return 0
}
