//! The resources that a node's agent receives, generated from `proto/resources.proto`.

#[expect(missing_docs, reason = "generated; the proto file has the documentation")]
mod generated {
    tonic::include_proto!("mesh.internal.v1alpha1");
}

pub use generated::*;
