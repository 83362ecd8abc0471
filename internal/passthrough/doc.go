// Package passthrough is about clients that log in with Veeam credentials of their
// own: their logins, their sessions, and what they get where the server refuses them.
package passthrough
