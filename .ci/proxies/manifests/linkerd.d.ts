// The resources of policy.linkerd.io that deploy/linkerd uses, by Linkerd's reference of 2.19
// (https://linkerd.io/2.19/reference/authorization-policy/). No package has them.

interface Metadata {
  name: string;
  namespace: string;
}

interface Reference<Kind extends string> {
  group?: "policy.linkerd.io";
  kind: Kind;
  name: string;
  namespace?: string;
}

export interface IServer {
  apiVersion: "policy.linkerd.io/v1beta3";
  kind: "Server";
  metadata: Metadata;
  spec: {
    podSelector: { matchLabels: Record<string, string> };
    port: number | string;
    proxyProtocol?: "unknown" | "HTTP/1" | "HTTP/2" | "gRPC" | "opaque" | "TLS";
    accessPolicy?: string;
  };
}

export interface IAuthorizationPolicy {
  apiVersion: "policy.linkerd.io/v1alpha1";
  kind: "AuthorizationPolicy";
  metadata: Metadata;
  spec: {
    targetRef: Reference<"Server" | "HTTPRoute" | "GRPCRoute" | "Namespace">;
    requiredAuthenticationRefs: Reference<"MeshTLSAuthentication" | "NetworkAuthentication" | "ServiceAccount">[];
  };
}

export interface IMeshTLSAuthentication {
  apiVersion: "policy.linkerd.io/v1alpha1";
  kind: "MeshTLSAuthentication";
  metadata: Metadata;
  spec: { identities: string[] } | { identityRefs: Reference<"ServiceAccount" | "Namespace">[] };
}

export interface INetworkAuthentication {
  apiVersion: "policy.linkerd.io/v1alpha1";
  kind: "NetworkAuthentication";
  metadata: Metadata;
  spec: { networks: { cidr: string; except?: string[] }[] };
}
