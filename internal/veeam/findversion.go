// Finding out which API version a server serves.

package veeam

import (
	"context"
	"net/http"
	"strings"
)

// FindVersion returns the newest known API version that the server serves. It sends no
// credential and at most one request for each known version, to a page that is public
// in the versions served. The result is empty if the product has no such page or the
// server serves none of the known versions. It returns an error if the server cannot be
// reached or fails.
func (c *Client) FindVersion(ctx context.Context) (string, error) {
	for _, version := range c.Product.Version.shown() {
		status, err := c.probe(ctx, c.Product.Version.probe(version), version)
		switch {
		case err != nil:
			return "", c.complete(err, "")
		case c.Product.Version.serves(status):
			return version, nil
		case status >= http.StatusInternalServerError:
			return "", &Error{Kind: KindServerFault, Product: c.Product.Name, Status: status}
		}
	}
	return "", nil
}

// shown are the versions that can be probed without a session.
func (v Version) shown() []string {
	if v.Probe == "" {
		return nil
	}
	return v.Known
}

// probe is the path that shows whether a version is served.
func (v Version) probe(version string) string {
	return strings.ReplaceAll(v.Probe, "{version}", version)
}

// probe returns the status of a path. Only the beginning of the answer, which may have
// several megabytes, is read.
func (c *Client) probe(ctx context.Context, path, version string) (status int, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(c.BaseURL, "/")+path, nil)
	if err != nil {
		return 0, &Error{Kind: KindAccount, Err: errNoURL}
	}
	if c.Host != "" {
		req.Host = c.Host
	}
	c.Product.SetVersion(req.Header, version)
	res, err := c.transport().RoundTrip(req)
	if err != nil {
		return 0, transportError(ctx, err, nil)
	}
	status = res.StatusCode
	if kind, _, _ := strings.Cut(res.Header.Get("Content-Type"), ";"); status == http.StatusOK && strings.EqualFold(kind, "text/html") {
		status = http.StatusNotFound // a page that is shown for every path
	}
	return status, res.Body.Close()
}
