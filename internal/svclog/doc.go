// Package svclog writes and reads the log lines of Veeam's REST services, known
// from Svc.ResAPI.log, and takes the secrets out of everything that goes into
// them.
//
// A line is a frame and a message:
//
//	[03.10.2022 11:48:31.999] <36> Info         [User: Anonymous][POST] request to [/api/oauth2/token] deserialized. Message: […]; Parameters: […; ].
//	[03.10.2022 11:48:32.072] <36> Info         [POST /api/oauth2/token]: [401] {"errorCode":"AccessDenied", … }
//	[03.10.2022 11:48:32.071] <36> Error        Login failed for user 'benyoung'.
//
// Requests and responses travel through zap as fields (RequestField,
// ResponseField) and mask themselves whatever encoder prints them; Renderer
// turns them into lines. Sentences such as LoginFailed are ordinary messages.
// The Mask functions can be used alone. Read and Follower take a file apart
// again, whether this package wrote it or Veeam did.
//
// The package depends on the standard library and zap only.
package svclog
