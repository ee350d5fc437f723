package stack

import "context"

// Programs are those of compose/Dockerfile.
var Programs = []string{"exporter", "remediator", "proxy", "setup"}

// OurImages builds the shipped compose/Dockerfile for amd64 or arm64, and returns the image of each
// program.
func (s *Stack) OurImages(ctx context.Context, arch string) (map[string]string, error) {
	golang, err := s.BaseImage(ctx, "golang:1.26-bookworm")
	if err != nil {
		return nil, err
	}
	images := map[string]string{}
	for _, program := range Programs {
		s.progress("building the image of %s for %s from its Dockerfile", program, arch)
		images[program] = "ghostrunner-demo/dockerfile-" + program + ":" + arch
		if err := s.build(ctx, s.root, "--file", "compose/Dockerfile", "--platform", "linux/"+arch, "--tag", images[program],
			"--build-arg", "GO_IMAGE="+golang, "--build-arg", "PROGRAM="+program); err != nil {
			return nil, err
		}
	}
	return images, nil
}

// ChronyImage builds the shipped compose/chrony/Dockerfile.
func (s *Stack) ChronyImage(ctx context.Context) (string, error) {
	debian, err := s.BaseImage(ctx, "debian:bookworm-slim")
	if err != nil {
		return "", err
	}
	const ref = "ghostrunner-demo/dockerfile-chrony:latest"
	return ref, s.build(ctx, s.root+"/compose/chrony", "--tag", ref, "--build-arg", "BASE="+debian)
}
