//! The files that the settings name, and the volumes they are in.

use serde_json::Value;

use crate::{
    api::text,
    manifests::{Manifests, list, name},
};

/// Every setting that names a file names one that is there.
pub fn are_mounted(release: &Manifests) -> Vec<String> {
    let variables = release.variables();
    let files = variables.iter().filter(|(_, value)| value.starts_with('/'));
    files
        .filter_map(|(name, path)| {
            missing(release, path).map(|why| format!("{name}: {path}: {why}"))
        })
        .collect()
}

/// Why there is no such file, if there is none.
fn missing(release: &Manifests, path: &str) -> Option<String> {
    let Some((volume, file)) = volume_of(release, path) else {
        return Some("is in no volume".to_owned());
    };
    let files = files_of(volume);
    (!files.contains(&file.to_owned())).then(|| format!("the volume has {files:?}"))
}

/// The volume that a path is in, and the rest of the path there.
pub fn volume_of<'r, 'p>(release: &'r Manifests, path: &'p str) -> Option<(&'r Value, &'p str)> {
    let volumes = list(&release.template()["spec"]["volumes"]);
    list(&release.container()["volumeMounts"]).iter().find_map(|mount| {
        let file = path.strip_prefix(text(mount, "/mountPath"))?.strip_prefix('/')?;
        Some((volumes.iter().find(|volume| volume["name"] == mount["name"])?, file))
    })
}

/// The files of a volume of a kind that the chart makes.
fn files_of(volume: &Value) -> Vec<String> {
    // What cert-manager's csi-driver-spiffe writes, if it knows the authorities.
    let spiffe = ["tls.crt", "tls.key", "ca.crt"];
    if volume["csi"]["driver"] == "spiffe.csi.cert-manager.io" {
        return spiffe.map(str::to_owned).into();
    }
    let sources = list(&volume["projected"]["sources"]).iter();
    let tokens = sources.clone().map(|source| &source["serviceAccountToken"]);
    let maps =
        sources.map(|source| &source["configMap"]).chain([&volume["secret"], &volume["configMap"]]);
    let items = maps.flat_map(|source| list(&source["items"])).chain(tokens);
    items.map(|item| text(item, "/path").to_owned()).filter(|path| !path.is_empty()).collect()
}

/// Every volume is mounted, every mount has a volume, and the chart's own ConfigMaps are made.
pub fn have_volumes(release: &Manifests) -> Vec<String> {
    let mut problems = Vec::new();
    for (pod, it) in release.pods() {
        let volumes: Vec<_> =
            list(&it["spec"]["volumes"]).iter().map(|volume| text(volume, "/name")).collect();
        let containers =
            ["containers", "initContainers"].into_iter().flat_map(|kind| list(&it["spec"][kind]));
        let mounts = containers.flat_map(|container| list(&container["volumeMounts"]));
        let mounts: Vec<_> = mounts.map(|mount| text(mount, "/name")).collect();
        let unused = volumes.iter().filter(|volume| !mounts.contains(volume));
        problems.extend(unused.map(|volume| format!("{pod}: nobody mounts {volume}")));
        let unknown = mounts.iter().filter(|mount| !volumes.contains(mount));
        problems.extend(unknown.map(|mount| format!("{pod}: there is no volume {mount}")));
    }
    let own = format!("{}-", text(release.deployment(), "/metadata/name"));
    for volume in list(&release.template()["spec"]["volumes"]) {
        let map = text(volume, "/configMap/name");
        if map.starts_with(&own) && release.named("ConfigMap", map).is_none() {
            problems.push(format!("{}: there is no ConfigMap {map}", name(release.deployment())));
        }
    }
    problems
}
